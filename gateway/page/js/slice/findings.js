// A slice's answers in words, bars and buttons.

import { problemBox } from "../advice.js";
import { button, element } from "../dom.js";
import { list, nameOf, percent } from "../format.js";

function bars({ probabilities, prediction_set: chosen, label }) {
  const rows = Object.entries(probabilities).sort(([, a], [, b]) => b - a).map(([name, share]) => {
    const fill = element("div", { className: "fill" });
    fill.style.width = `${100 * share}%`;
    const className = [name === label ? "top" : "", chosen.includes(name) ? "chosen" : ""].join(" ").trim();
    return element("li", { className },
      element("span", { text: nameOf(name) }),
      element("div", { className: "track", "aria-hidden": "true" }, fill),
      element("span", { className: "value", text: percent(share) }));
  });
  return element("ul", { className: "bars" }, rows);
}

/** The prediction set in one sentence. */
export function setInWords({ prediction_set: chosen, coverage, probabilities }) {
  if (coverage === null) return "This model names no prediction set.";
  const often = "On images like those it was validated on, the true class is in this set in " +
    `${percent(coverage, 0)} of cases.`;
  if (chosen.length === 0) return `No class fits well enough to be named. ${often}`;
  if (chosen.length === 1) return `The model settles for one class: ${nameOf(chosen[0]).toLowerCase()}. ${often}`;
  const names = list(chosen.map((name) => nameOf(name).toLowerCase()), "or");
  const all = chosen.length === Object.keys(probabilities).length;
  return `${all ? "The model rules nothing out" : "The model cannot decide"}: ${names}. ${often}`;
}

function inputCheck({ input_check: check }) {
  if (check.in_distribution) {
    return element("p", { className: "check good" }, element("strong", { text: "Input check passed. " }),
      `The image looks like those the model was trained on (${check.score.toFixed(2)}; 0.50 is the limit).`);
  }
  return element("div", { className: "check bad" },
    element("p", {}, element("strong", { text: "Do not rely on this answer. " }),
      `The image does not look like those the model was trained on (${check.score.toFixed(2)}; 0.50 is the limit).`),
    element("ul", {}, check.reasons.map((text) => element("li", { text }))));
}

const warnings = (answer) => (answer.warnings ?? []).map((text) => element("p", { className: "check bad", text }));

function origin({ model, timing_ms: t }) {
  return element("p", { className: "fine",
    text: `${model.name} ${model.version}, ${model.variant}, ${model.provider.replace("ExecutionProvider", "")}. ` +
      `Inference ${t.inference.toFixed(0)} ms, decoding ${t.decode.toFixed(0)} ms, queue ${t.queue.toFixed(0)} ms.` });
}

function classification(answer) {
  return [
    element("p", { className: "verdict" }, nameOf(answer.label), element("span", { text: percent(answer.probability) })),
    inputCheck(answer),
    bars(answer),
    element("p", { text: setInWords(answer) }),
    ...warnings(answer),
    origin(answer),
  ];
}

function segmentation(answer) {
  const found = answer.tumor_pixels > 0;
  const area = answer.area_mm2 === null ? `${answer.tumor_pixels.toLocaleString("en")} pixels`
    : `${answer.area_mm2.toFixed(0)} mm²`;
  return [
    element("p", { className: "verdict" }, found ? "Tumour outlined" : "No tumour outlined",
      found ? element("span", { text: area }) : null),
    element("p", { text: `Highest tumour probability of a pixel ${percent(answer.max_probability)}; ` +
      `outlined from ${percent(answer.threshold, 0)} upwards.` +
      (answer.area_mm2 === null ? " The file tells no pixel size, so there is no area in mm²." : "") }),
    ...warnings(answer),
    origin(answer),
  ];
}

function part(title, answer, problem, show, again) {
  const content = problem ? [problemBox(problem, again)]
    : answer ? show(answer) : [element("p", { className: "waiting", text: "Waiting for the answer …" })];
  return element("section", { "aria-busy": String(!answer && !problem), "data-part": title.toLowerCase() },
    element("h3", { text: title }), ...content);
}

/** Everything that is said of `slice`; `actions` are again(), mask(), overlay() and json(). */
export function findings(slice, actions) {
  const { classification: c, segmentation: s, problems } = slice;
  const [first, second] = [problems.classification, problems.segmentation];
  // Both refused it for one reason: said once.
  if (first && first.code === second?.code) return [problemBox(first, actions.again)];
  return [
    part("Class", c, problems.classification, classification, actions.again),
    part("Outline", s, problems.segmentation, segmentation, actions.again),
    c || s ? element("section", {}, element("h3", { text: "Downloads" }), element("p", { className: "row" },
      s ? button("Mask (PNG)", actions.mask) : null,
      s ? button("Overlay (PNG)", actions.overlay) : null,
      button("Answers (JSON)", actions.json))) : null,
  ].filter(Boolean);
}
