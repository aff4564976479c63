// The slice view: files in, a strip of slices, and the one that is looked at.

import { ask, onKeyChange, problemOf } from "../api.js";
import { problemBox } from "../advice.js";
import { $, announce, element, save } from "../dom.js";
import { acceptFiles, acceptPaste } from "../files.js";
import { size } from "../format.js";
import { findings } from "./findings.js";
import { candidateOf } from "./judgement.js";
import { maskOf, overlayOf } from "./requests.js";
import { Slice } from "./slice.js";
import { Stage } from "./stage.js";

// Two at a time keep the server busy without filling its queue.
const AT_ONCE = 2;

export function startSlices() {
  const root = $("#view-slices");
  const view = new SliceView(root);
  acceptFiles($(".drop", root), (files) => view.add(files));
  acceptPaste(() => !root.hidden, (files) => view.add(files));
  for (const sample of root.querySelectorAll("[data-sample]")) {
    sample.addEventListener("click", () => view.addSample(sample.dataset.sample, sample.dataset.name));
  }
  onKeyChange(() => view.retryUnauthorized());
  return view;
}

class SliceView {
  #slices = [];
  #selected = null;
  #working = 0;

  constructor(root) {
    this.root = root;
    this.strip = $(".strip", root);
    this.detail = $(".detail", root);
    this.findings = $(".findings", root);
    this.stage = new Stage($(".stage", root));
  }

  add(files, names = files.map((file) => file.name || "Pasted image")) {
    const onChange = (slice) => this.#changed(slice);
    const added = files.map((file, index) => this.#enter(new Slice(file, names[index], onChange)));
    if (!added.length) return;
    this.#select(added[0]);
    this.#next();
  }

  async addSample(address, name) {
    try {
      this.add([await (await ask(address)).blob()], [name]);
    } catch (error) {
      this.findings.replaceChildren(problemBox(problemOf(error)));
      this.detail.hidden = false;
    }
  }

  retryUnauthorized() {
    for (const slice of this.#slices) {
      if (Object.values(slice.problems).some(({ status }) => status === 401 || status === 403)) this.#again(slice);
    }
  }

  #enter(slice) {
    slice.bar = element("progress", { max: 1, value: 0, "aria-label": `Sending ${slice.name}` });
    slice.verdict = element("span", { className: "fine", text: slice.label });
    slice.tab = element("button", { type: "button", className: "tab", on: { click: () => this.#select(slice) } },
      element("span", { className: "tab-name", text: slice.name }), slice.verdict);
    slice.onProgress = () => { slice.bar.value = slice.progress; };
    slice.item = element("li", { title: null }, slice.tab, slice.bar,
      element("span", { className: "fine", text: size(slice.file.size) }));
    this.#slices.unshift(slice);
    this.strip.prepend(slice.item);
    this.strip.hidden = false;
    return slice;
  }

  /** Start what waits, oldest first, as far as there is room. */
  #next() {
    const waiting = this.#slices.filter(({ state }) => state === "waiting").reverse();
    for (const slice of waiting.slice(0, AT_ONCE - this.#working)) {
      this.#working += 1;
      slice.run().finally(() => { this.#working -= 1; this.#next(); });
    }
  }

  #again(slice) {
    slice.state = "waiting";
    slice.problems = {};
    this.#changed(slice);
    this.#next();
  }

  #select(slice) {
    this.#selected = slice;
    for (const { tab } of this.#slices) tab.setAttribute("aria-pressed", String(tab === slice.tab));
    this.detail.hidden = false;
    this.stage.reset(true);
    this.#render(slice);
  }

  #changed(slice) {
    slice.verdict.textContent = slice.label;
    slice.bar.value = slice.progress;
    slice.item.dataset.state = slice.state;
    if (slice.state === "done") announce(`${slice.name}: ${slice.label}`);
    if (slice === this.#selected) this.#render(slice);
  }

  #render(slice) {
    this.findings.replaceChildren(...findings(slice, {
      again: () => this.#again(slice),
      mask: () => this.#download(slice, maskOf, "mask.png"),
      overlay: () => this.#download(slice, overlayOf, "overlay.png"),
      json: () => save(answersOf(slice), "falx-answers.json"),
    }));
    const hopeless = slice.state === "failed" && !slice.picture;
    $(".stage", this.root).hidden = hopeless;
    this.detail.classList.toggle("alone", hopeless);
    const candidate = candidateOf(slice);
    const outlined = slice.segmentation?.tumor_pixels ? " The outline of the tumour lies over it."
      : candidate ? " A dashed line marks a candidate, which is no outline." : "";
    const label = `Slice ${slice.name}. ${slice.label}.${outlined}`;
    this.stage.show({ ...slice, candidate, label }).catch(() => this.stage.box.clear());
  }

  async #download(slice, request, name) {
    try {
      save(await request(slice.file), `falx-${name}`);
    } catch (error) {
      this.findings.append(problemBox(problemOf(error)));
    }
  }
}

/** What was answered as it came, without the heat map's bytes. */
function answersOf({ analysis, classification, segmentation }) {
  const answers = {
    ...analysis, classification: classification && { ...classification, explanation: undefined }, segmentation,
  };
  return new Blob([JSON.stringify(answers, null, 2)], { type: "application/json" });
}
