// The page for people: one slice in, both answers out. It talks to this server only and keeps nothing.

const $ = (selector) => document.querySelector(selector);
const LABELS = {
  glioma: "Glioma", meningioma: "Meningioma", pituitary: "Pituitary tumour", no_tumor: "No tumour",
  neurocytoma: "Neurocytoma", schwannoma: "Schwannoma",
};
const IMAGE_TYPES = new Set([
  "image/png", "image/jpeg", "image/tiff", "image/webp", "image/bmp", "application/dicom",
]);

let current = null; // the AbortController of the slice being worked on
let objectUrls = [];

function element(tag, { text, className, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const percent = (p) => `${(100 * p).toFixed(1)} %`;
const label = (name) => LABELS[name] ?? name;

/** A refusal of the server, with what the caller can do about it. */
class Problem extends Error {
  constructor(status, title, detail, requestId) {
    super(detail || title);
    Object.assign(this, { status, title, detail, requestId });
  }
}

async function problemOf(response) {
  const requestId = response.headers.get("X-Request-ID");
  try {
    const body = await response.json();
    return new Problem(response.status, body.title, body.detail, body.request_id ?? requestId);
  } catch {
    return new Problem(response.status, `The server answered ${response.status}`, "", requestId);
  }
}

async function ask(path, file, accept, signal) {
  const body = new FormData();
  // A browser guesses the type from the name; where that is no image type, the server should look for itself. The name
  // stays here: it may tell who the patient is.
  body.append("file", new Blob([file], { type: IMAGE_TYPES.has(file.type) ? file.type : "" }), "slice");
  const headers = { Accept: accept };
  const key = $("#key").value.trim();
  if (key) headers.Authorization = `Bearer ${key}`;
  const response = await fetch(path, { method: "POST", body, headers, signal, credentials: "omit", cache: "no-store" });
  if (!response.ok) throw await problemOf(response);
  return response;
}

function bars(probabilities) {
  const list = element("ul", { className: "bars" });
  const ordered = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  ordered.forEach(([name, p], index) => {
    const fill = element("div", { className: "fill" });
    fill.style.width = `${100 * p}%`;
    list.append(element("li", { className: index === 0 ? "top" : "" },
      element("span", { text: label(name) }),
      element("div", { className: "track", "aria-hidden": "true" }, fill),
      element("span", { className: "value", text: percent(p) })));
  });
  return list;
}

function figure(src, alt, caption) {
  return element("figure", {}, element("img", { src, alt }), element("figcaption", { text: caption }));
}

function facts(answer) {
  const { model, timing_ms: t } = answer;
  return element("p", {
    className: "facts",
    text: `${model.name} ${model.version}, ${model.provider}. ` +
      `Decoding ${t.decode.toFixed(1)} ms, queue ${t.queue.toFixed(1)} ms, inference ${t.inference.toFixed(1)} ms. ` +
      `Request ${answer.request_id}.`,
  });
}

function cautions(answer) {
  const lines = [...(answer.warnings ?? [])];
  if (answer.input_check && !answer.input_check.in_distribution) {
    lines.unshift("This image does not look like what the model was trained on; do not rely on the answer.",
      ...answer.input_check.reasons);
  }
  return lines.map((text) => element("p", { className: "caution", text }));
}

function showClassification(answer) {
  const nodes = [
    element("p", { className: "verdict", text: `${label(answer.label)}, ${percent(answer.probability)}` }),
    ...cautions(answer),
    bars(answer.probabilities),
  ];
  if (answer.coverage !== null) {
    const set = answer.prediction_set.map(label).join(", ") || "none";
    nodes.push(element("p", { className: "facts", text: `Prediction set at ${percent(answer.coverage)} coverage: ${set}.` }));
  }
  if (answer.explanation) {
    nodes.push(figure(`data:${answer.explanation.media_type};base64,${answer.explanation.data}`,
      `Heat map over the slice: where the evidence for ${label(answer.label)} lies`,
      `Where the evidence for “${label(answer.label)}” lies (class activation map).`));
  }
  $("#classification .content").replaceChildren(...nodes, facts(answer));
}

function showSegmentation(answer, overlay) {
  const url = URL.createObjectURL(overlay);
  objectUrls.push(url);
  const found = answer.tumor_pixels > 0;
  const area = answer.area_mm2 === null ? "" : `, ${answer.area_mm2.toFixed(0)} mm²`;
  const verdict = found ? `Tumour outlined: ${answer.tumor_pixels} pixels${area}` : "No tumour outlined";
  $("#segmentation .content").replaceChildren(
    element("p", { className: "verdict", text: verdict }),
    ...cautions(answer),
    figure(url, found ? "The slice with the tumour's border in red" : "The slice; no border was drawn",
      `Highest tumour probability of a pixel ${percent(answer.max_probability)}, threshold ${percent(answer.threshold)}.`),
    facts(answer));
}

function showProblem(section, error) {
  const box = element("div", { className: "problem", role: "alert" },
    element("strong", { text: error.title ?? "The server could not be reached" }),
    element("p", { text: error.detail ?? "Check that it is running and try again." }));
  if (error.requestId) box.append(element("p", { className: "facts", text: `Request ${error.requestId}` }));
  section.querySelector(".content").replaceChildren(box);
  if (error.status === 401 || error.status === 403) {
    $("#access").open = true;
    $("#key").focus();
  }
}

async function classify(file, signal) {
  const response = await ask("/v1/classifications?explain=cam", file, "application/json", signal);
  showClassification(await response.json());
}

async function segment(file, signal) {
  const [answer, overlay] = await Promise.all([
    ask("/v1/segmentations", file, "application/json", signal).then((r) => r.json()),
    ask("/v1/segmentations?render=overlay", file, "image/png", signal).then((r) => r.blob()),
  ]);
  showSegmentation(answer, overlay);
}

async function guarded(section, work) {
  section.setAttribute("aria-busy", "true");
  section.querySelector(".content").replaceChildren(element("p", { className: "hint", text: "Working." }));
  try {
    await work;
    return true;
  } catch (error) {
    if (error.name !== "AbortError") showProblem(section, error);
    return false;
  } finally {
    section.removeAttribute("aria-busy");
  }
}

async function run(file) {
  current?.abort();
  const controller = current = new AbortController();
  objectUrls.forEach((url) => URL.revokeObjectURL(url));
  objectUrls = [];
  $("#results").hidden = false;
  $("#status").textContent = `Working on ${file.name}.`;
  const outcomes = await Promise.all([
    guarded($("#classification"), classify(file, controller.signal)),
    guarded($("#segmentation"), segment(file, controller.signal)),
  ]);
  if (current !== controller) return;
  $("#status").textContent = outcomes.every(Boolean) ? `Done: ${file.name}.` : `Not everything worked for ${file.name}.`;
}

async function listModels() {
  const key = $("#key").value.trim();
  const list = $("#models");
  try {
    const response = await fetch("/v1/models", { headers: key ? { Authorization: `Bearer ${key}` } : {}, credentials: "omit" });
    if (!response.ok) throw await problemOf(response);
    const { models } = await response.json();
    list.replaceChildren(...models.map((m) => element("li", {
      text: `${m.title} (${m.name} ${m.version}, ${m.provider}${m.ready ? "" : ", not ready"})`,
    })));
  } catch (error) {
    list.replaceChildren(element("li", { text: error.detail ?? "The server could not be reached." }));
  }
}

const drop = $("#drop");
const input = $("#file");
const start = () => { if (input.files.length) run(input.files[0]); };

input.addEventListener("change", start);
// The same file chosen again is a wish to try again.
input.addEventListener("click", () => { input.value = ""; });
$("#key").addEventListener("change", () => { listModels(); start(); });
$("#form").addEventListener("submit", (event) => { event.preventDefault(); start(); });
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) {
    input.files = event.dataTransfer.files;
    start();
  }
});
// A file that misses the target must not replace the page.
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());

listModels();
