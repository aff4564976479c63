// The volume view: files in, one job at a time on the screen, its results.

import { ask, onKeyChange, problemOf } from "../api.js";
import { problemBox } from "../advice.js";
import { $, announce } from "../dom.js";
import { acceptFiles } from "../files.js";
import { intakeOf } from "./intake.js";
import { cancelJob, eraseJob, follow, isOver, submit } from "./jobs.js";
import { JobPanel } from "./panel.js";
import { ResultsPanel } from "./results.js";
import { SEQUENCES } from "./sequences.js";

export function startVolumes() {
  const view = new VolumeView($("#view-volumes"));
  onKeyChange(() => view.again());
  return view;
}

class VolumeView {
  #id = null; // of the job on the screen
  #following = null; // the AbortController of its events
  #attempt = { key: null, parts: null }; // a try that failed on its way is repeated under its key

  constructor(root) {
    this.root = root;
    this.problems = $(".problems", root);
    this.results = new ResultsPanel($(".results", root));
    this.panel = new JobPanel($(".job", root), {
      cancel: () => this.#act(cancelJob),
      erase: () => this.#act(eraseJob),
      another: () => { location.hash = "#volumes"; },
    });
    this.intake = intakeOf(root, () => this.#ready());
    this.start = $(".start", root);
    this.start.addEventListener("click", () => this.#submit());
    $(".clear", root).addEventListener("click", () => this.intake.clear());
    $(".sample", root).addEventListener("click", () => this.#takeSample());
    acceptFiles($(".drop", root), (files) => this.intake.take(files));
  }

  /** The router's word that this view is on the screen, with the job that the address names. */
  shown(id) {
    if (id === this.#id) return;
    const held = this.root.contains(document.activeElement);
    this.#following?.abort();
    this.#id = /^[0-9a-f]{32}$/.test(id ?? "") ? id : null;
    this.problems.replaceChildren();
    this.results.clear();
    $(".intake", this.root).hidden = this.#id !== null;
    this.panel.show(this.#id);
    if (this.#id) this.#follow();
    else if (held) $("h2", this.root).focus(); // the button that had it went away with the job
  }

  again() {
    if (this.#id) { this.#following?.abort(); this.#follow(); }
  }

  async #takeSample() {
    try {
      this.intake.clear();
      this.intake.take(await Promise.all(SEQUENCES.map(async (code) => {
        const name = `${code}.nii.gz`;
        return new File([await (await ask(`/page/samples/${name}`)).blob()], `sample_${name}`);
      })));
      this.start.focus();
    } catch (error) {
      this.#problem(error);
    }
  }

  #ready() {
    this.#attempt = { key: null, parts: null };
    const fault = this.intake.fault;
    $(".chosen", this.root).hidden = fault === "Choose files first.";
    $(".fault", this.root).textContent = fault ?? "";
    this.start.disabled = fault !== null;
    this.problems.replaceChildren();
  }

  async #submit() {
    this.start.disabled = true;
    this.problems.replaceChildren();
    this.panel.sending(0);
    this.panel.title.focus(); // the button that had it goes away
    try {
      const { wishes } = this.intake;
      const parts = this.#attempt.parts ?? await this.intake.parts();
      this.#attempt = { key: this.#attempt.key ?? crypto.randomUUID(), parts };
      const job = await submit(parts, wishes, this.#attempt.key, { onProgress: (share) => this.panel.sending(share) });
      this.intake.clear();
      location.hash = `#volumes/${job.id}`;
    } catch (error) {
      this.panel.show(null);
      if (error.code === "idempotency-key-reuse") this.#attempt.key = null;
      this.#problem(error, () => this.#submit());
      this.start.disabled = false;
      this.start.focus();
    }
  }

  async #follow() {
    const controller = this.#following = new AbortController();
    this.problems.replaceChildren();
    try {
      await follow(this.#id, {
        onJob: (job) => this.#onJob(job),
        onProgress: (progress) => this.panel.progress(progress),
        onAway: () => this.panel.away(),
      }, controller.signal);
    } catch (error) {
      if (!controller.signal.aborted) this.#problem(error, () => this.#follow());
    }
  }

  #onJob(job) {
    if (job.id !== this.#id) return;
    this.panel.update(job);
    if (!isOver(job)) return;
    announce(`The job has ${job.status}.`);
    if (job.status === "succeeded") this.results.show(job);
    if (job.problem) this.problems.replaceChildren(problemBox(job.problem));
  }

  async #act(request) {
    const id = this.#id;
    try {
      await request(id);
      if (request === eraseJob) location.hash = "#volumes";
    } catch (error) {
      this.#problem(error);
    }
  }

  #problem(error, again = null) {
    this.problems.replaceChildren(problemBox(problemOf(error), again));
  }
}
