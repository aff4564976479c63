// One slice on its way: sent, answered, shown. Its state is plain fields; `onChange` is called after each change.

import { problemOf } from "../api.js";
import { contradictionOf, headlineOf } from "./judgement.js";
import { analyse, classify, imageOf, segment } from "./requests.js";

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
const APART = { classification: classify, segmentation: segment };

export class Slice {
  state = "waiting"; // working, done, failed
  progress = 0; // share of the upload that has left, in [0, 1]
  analysis = null; // null too where but one of the next two could be had
  classification = null;
  segmentation = null;
  problems = {};
  picture = null; // a blob that this browser can show
  heat = null;

  constructor(file, name, onChange) {
    Object.assign(this, { file, name, onChange });
  }

  get label() {
    if (this.state === "failed" && !this.classification && !this.segmentation) return "Refused";
    if (this.classification) {
      return headlineOf(this.classification) + (contradictionOf(this) ? ", outline disagrees" : "");
    }
    return { waiting: "Waiting", working: "Working" }[this.state] ?? "Answered in part";
  }

  /** Ask, unless all has been answered; never rejects. */
  async run() {
    this.state = "working";
    this.problems = {};
    this.onChange(this);
    await Promise.all([this.#local(), this.#analyse()]);
    if (!this.picture && this.segmentation) await this.#fromServer();
    this.state = Object.keys(this.problems).length ? "failed" : "done";
    this.onChange(this);
  }

  async #analyse() {
    if (this.classification && this.segmentation) return;
    const onProgress = (share) => { this.progress = share; this.onProgress?.(this); };
    try {
      this.analysis = await analyse(this.file, { onProgress });
      this.#take("classification", this.analysis.classification);
      this.#take("segmentation", this.analysis.segmentation);
    } catch (error) {
      const problem = problemOf(error);
      if (problem.code === "model-unavailable") await this.#askApart(problem);
      else this.#miss(problem);
    }
    this.onChange(this);
  }

  /** One of the two model servers is away: what the other one says is shown all the same, and `problem` beside it. */
  async #askApart(problem) {
    await Promise.all(Object.entries(APART).map(async ([kind, request]) => {
      try {
        this.#take(kind, await request(this.file));
      } catch (error) {
        if (!this[kind]) this.problems[kind] = problemOf(error);
      }
    }));
    if (!this.classification || !this.segmentation) return;
    // It has come back in between. Side by side the two would pass for an analysis that nobody made.
    this.segmentation = null;
    this.#miss(problem);
  }

  /** Tell `problem` in the place of every answer that is missing. */
  #miss(problem) {
    for (const kind of Object.keys(APART)) if (!this[kind]) this.problems[kind] = problem;
  }

  #take(kind, answer) {
    this[kind] = answer;
    const { explanation } = answer;
    if (explanation) this.heat = new Blob([bytesOf(explanation.data)], { type: explanation.media_type });
  }

  /** The browser's own reading of the file, at once; most cannot read DICOM and TIFF. */
  async #local() {
    if (this.picture) return;
    try {
      (await createImageBitmap(this.file)).close();
      this.picture = this.file;
      this.onChange(this);
    } catch { /* the server's reading comes after its answer */ }
  }

  async #fromServer() {
    try {
      this.picture = await imageOf(this.file);
    } catch (error) {
      this.problems.segmentation = problemOf(error);
    }
  }
}
