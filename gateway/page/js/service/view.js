// What the service says of itself: the key in force, own jobs, readiness, models.

import { Problem, askJson, onKeyChange, problemOf, setKey } from "../api.js";
import { problemBox } from "../advice.js";
import { $, button, element, readySign, table } from "../dom.js";
import { nameOf, percent, time } from "../format.js";
import { eraseJob, isOver, listJobs } from "../volume/jobs.js";
import { stateInWords } from "../volume/panel.js";
import { CardDialog } from "./card.js";
import { modelSummary } from "./models.js";

const REFRESH_MS = 5000;

export function startService() {
  const root = $("#view-service");
  const key = $("#key");
  $("#key-form").addEventListener("submit", (event) => { event.preventDefault(); setKey(key.value); });
  $("#key-forget").addEventListener("click", () => { key.value = ""; setKey(""); });
  const card = new CardDialog($("dialog", root));
  const parts = [
    [$(".jobs", root), jobs],
    [$(".readiness", root), readiness],
    [$(".models", root), () => models((model) => card.show(model))],
  ];
  const refresh = () => { if (!root.hidden) for (const [place, load] of parts) fill(place, load, refresh); };
  onKeyChange(refresh);
  $(".refresh", root).addEventListener("click", refresh);
  // Not under the hands of somebody who has just reached a button, or whom an open card will lead back to one.
  const busy = () => card.open || root.contains(document.activeElement);
  setInterval(() => { if (!document.hidden && !busy()) refresh(); }, REFRESH_MS);
  return { shown: refresh };
}

async function fill(place, load, refresh) {
  try {
    place.replaceChildren(...await load(refresh));
  } catch (error) {
    place.replaceChildren(problemBox(problemOf(error)));
  }
}

async function models(showCard) {
  const { models: served } = await askJson("/v1/models");
  return served.map((model) => modelSummary(model, showCard));
}

/** /readyz answers 503 with the same body while something is away, so a refusal is an answer here. */
async function readyState() {
  let response;
  try { response = await fetch("/readyz", { cache: "no-store" }); } catch { throw new Problem(); }
  return response.json();
}

async function readiness() {
  const state = await readyState();
  const rows = state.dependencies.map((dependency) => element("tr", {},
    element("th", { scope: "row", text: dependency.name }),
    element("td", {}, readySign(dependency.ready)),
    element("td", { text: dependency.version ?? "" }),
    element("td", { text: placeOf(dependency) })));
  const ready = state.ready ? "Ready" : "Not everything is ready";
  return [
    element("p", { className: "verdict", text: state.draining ? "Stopping" : ready }),
    table("Parts of the service", ["Part", "State", "Version", "Where"], rows),
  ];
}

const placeOf = ({ provider, detail }) =>
  [provider?.replace("ExecutionProvider", ""), detail].filter(Boolean).join(", ");

async function jobs(refresh) {
  let answer;
  try {
    answer = await listJobs();
  } catch (error) {
    // Where no queue was set up, none is away and waiting would not help.
    if ((await readyState()).dependencies.some(({ name }) => name === "queue")) throw error;
    return [element("p", { text: "This server takes no volumes, so there are no jobs." })];
  }
  if (!answer.jobs.length) return [element("p", { text: "No jobs yet. Send a volume to see it here." })];
  const erase = (id) => {
    $("#jobs-title").focus(); // the button goes away
    return eraseJob(id).then(refresh, refresh);
  };
  const rows = answer.jobs.map((job) => element("tr", {},
    element("th", { scope: "row" }, element("a", { href: `#volumes/${job.id}`, text: time(job.created_at) })),
    element("td", {},
      element("span", { className: "state", "data-status": job.status, text: stateInWords(job.status) })),
    element("td", { text: progressOf(job) }),
    element("td", { text: job.inputs.map(({ name }) => nameOf(name.split(".")[0])).join(", ") }),
    element("td", {}, isOver(job) ? button("Erase", () => erase(job.id)) : "")));
  return [table("Your jobs", ["Sent", "State", "Progress", "Files", "Erase"], rows)];
}

function progressOf({ status, progress, queue_position: place }) {
  if (status === "running") return percent(progress.fraction, 0);
  return place ? `number ${place}` : "";
}
