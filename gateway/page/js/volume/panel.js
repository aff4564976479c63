// One job's way through the queue, in words and as a bar.

import { $, button, element } from "../dom.js";
import { duration, time } from "../format.js";
import { isOver } from "./jobs.js";

const STAGES = {
  queued: "Waiting in the queue", start: "Starting", load: "Loading the model", read: "Reading the files",
  prepare: "Bringing them to one grid", segment: "Outlining the tumour", restore: "Back to your own grid",
  measure: "Measuring", write: "Writing the results",
};
const STATES = {
  queued: "In the queue", running: "At work", succeeded: "Done", failed: "Failed", cancelled: "Cancelled",
};

export const stateInWords = (status) => STATES[status] ?? status;

export class JobPanel {
  #attempt = 0;

  constructor(root, { cancel, erase, another }) {
    this.root = root;
    this.title = element("h3", { tabindex: -1 });
    this.text = element("p");
    this.bar = element("progress", { max: 1, value: 0, "aria-label": "Progress of the job" });
    this.facts = element("p", { className: "fine" });
    this.cancelButton = button("Cancel", cancel);
    this.eraseButton = button("Erase from the server", erase);
    const anotherButton = button("Another volume", another);
    this.buttons = element("p", { className: "row" }, this.cancelButton, this.eraseButton, anotherButton);
    root.append(this.title, this.text, this.bar, this.facts, this.buttons);
  }

  /** A job whose state is not known yet, or none. */
  show(id) {
    this.root.hidden = id === null;
    this.#attempt = 0;
    this.#say("Asking for the job", "", 0);
    this.facts.textContent = "";
    this.cancelButton.hidden = this.eraseButton.hidden = true;
    this.buttons.hidden = false;
  }

  sending(share) {
    this.root.hidden = false;
    this.buttons.hidden = true;
    this.#say("Sending", `${Math.round(100 * share)} % has left this computer.`, share);
    this.facts.textContent = "Stay on this page until the files have been sent. After that you may leave or reload it.";
  }

  update(job) {
    const over = isOver(job);
    this.root.dataset.status = job.status;
    if (over && document.activeElement === this.cancelButton) this.title.focus();
    this.cancelButton.hidden = over;
    this.eraseButton.hidden = !over;
    this.bar.hidden = over;
    const place = job.queue_position ? `Number ${job.queue_position} in the queue.` : "";
    if (job.attempts !== this.#attempt || over) this.bar.value = 0;
    this.#attempt = job.attempts;
    this.#say(stateInWords(job.status), place, job.progress.fraction);
    if (job.status === "running") this.progress(job.progress);
    this.facts.textContent = factsOf(job);
  }

  /** Events are told again after a reload, so an old one must not turn the bar back. */
  progress({ fraction, stage }) {
    if (fraction < this.bar.value) return;
    this.bar.value = fraction;
    this.text.textContent = `${STAGES[stage] ?? stage} (${Math.round(100 * fraction)} %).`;
  }

  away() {
    this.text.textContent = "The server does not answer at the moment; this page keeps asking. The job is not lost.";
  }

  #say(title, text, share) {
    this.title.textContent = title;
    this.text.textContent = text;
    this.bar.value = Math.max(share, 0);
  }
}

function factsOf(job) {
  const took = job.started_at && job.finished_at
    ? `Took ${duration((new Date(job.finished_at) - new Date(job.started_at)) / 1000)}. ` : "";
  const kept = job.expires_at ? ` Kept until ${time(job.expires_at)}.` : "";
  return `Sent ${time(job.created_at)}. ${took}Job ${job.id}.${kept}`;
}
