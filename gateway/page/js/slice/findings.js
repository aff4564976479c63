// A slice's answers in words, bars and buttons.

import { problemBox } from "../advice.js";
import { button, element } from "../dom.js";
import { list, nameOf, percent } from "../format.js";
import { contradictionOf, headlineOf, isFamiliar, isSettled } from "./judgement.js";

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

/**
 * The prediction set in words. Its coverage is a property of all sets together, so it is told as the share of them that
 * miss: read beside a class, the share that hold would pass for the probability of this answer.
 */
export function setInWords(answer) {
  const { prediction_set: chosen, coverage, probabilities } = answer;
  if (coverage === null) return "This model names no prediction set.";
  const often = `Of many such sets, over images like those of validation, about ${Math.round(100 * (1 - coverage))} ` +
    "in 100 lack the true class; whether this one does, nobody can tell.";
  if (chosen.length === 0) return `No class fits well enough to be named. ${often}`;
  if (chosen.length === 1) {
    const name = nameOf(chosen[0]).toLowerCase();
    return isSettled(answer) ? `The set of classes that fit holds one: ${name}. ${often}`
      : `The set of classes that fit holds one, ${name}, but its own probability is low: take it as undecided. ${often}`;
  }
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

/** What a network says of an unfamiliar image: there for who wants to see it, and no answer. */
const allTheSame = (...content) =>
  element("details", {}, element("summary", { text: "What the network computed all the same" }), ...content);

const warnings = (answer) => (answer.warnings ?? []).map((text) => element("p", { className: "check bad", text }));

function origin({ model, timing_ms: t }) {
  return element("p", { className: "fine",
    text: `${model.name} ${model.version}, ${model.variant}, ${model.provider.replace("ExecutionProvider", "")}. ` +
      `Inference ${t.inference.toFixed(0)} ms, decoding ${t.decode.toFixed(0)} ms, queue ${t.queue.toFixed(0)} ms.` });
}

function classification(answer) {
  const familiar = isFamiliar(answer);
  const verdict = element("p", { className: "verdict" }, headlineOf(answer),
    familiar ? element("span", { text: percent(answer.probability) }) : null);
  return [
    verdict,
    inputCheck(answer),
    ...(familiar ? [bars(answer), element("p", { text: setInWords(answer) })] : [allTheSame(bars(answer))]),
    ...warnings(answer),
    origin(answer),
  ];
}

function segmentation(answer) {
  const found = answer.tumor_pixels > 0;
  const area = answer.area_mm2 === null ? `${answer.tumor_pixels.toLocaleString("en")} pixels`
    : `${answer.area_mm2.toFixed(0)} mm²`;
  const said = found ? "Tumour outlined" : "No tumour outlined";
  const size = found ? element("span", { text: area }) : null;
  const numbers = element("p", { text: `Highest tumour probability of a pixel ${percent(answer.max_probability)}; ` +
    `outlined from ${percent(answer.threshold, 0)} upwards.` +
    (answer.area_mm2 === null ? " The file tells no pixel size, so there is no area in mm²." : "") });
  const familiar = isFamiliar(answer);
  return [
    element("p", { className: "verdict" }, ...(familiar ? [said, size] : ["Unfamiliar image"]).filter(Boolean)),
    answer.input_check ? inputCheck(answer) : null,
    familiar ? numbers : allTheSame(element("p", {}, `${said} `, size), numbers),
    ...warnings(answer),
    origin(answer),
  ].filter(Boolean);
}

/** That class and outline contradict each other, before either is told by itself. */
function contradiction(slice) {
  const sentences = contradictionOf(slice);
  if (!sentences) return null;
  const [fault, advice] = sentences;
  return element("section", { "data-part": "contradiction" }, element("h3", { text: "Class and outline disagree" }),
    element("div", { className: "check bad" }, element("p", {}, element("strong", { text: fault })),
      element("p", { text: advice })));
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
    contradiction(slice),
    part("Class", c, problems.classification, classification, actions.again),
    part("Outline", s, problems.segmentation, segmentation, actions.again),
    c || s ? element("section", {}, element("h3", { text: "Downloads" }), element("p", { className: "row" },
      s ? button("Mask (PNG)", actions.mask) : null,
      s ? button("Overlay (PNG)", actions.overlay) : null,
      button("Answers (JSON)", actions.json))) : null,
  ].filter(Boolean);
}
