// One slice on its way: sent, answered, shown. Its state is plain fields; `onChange` is called after each change.

import { problemOf } from "../api.js";
import { contradictionOf, headlineOf } from "./judgement.js";
import { classify, imageOf, segment } from "./requests.js";

const bytesOf = (base64) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

export class Slice {
  state = "waiting"; // working, done, failed
  sent = { classification: 0, segmentation: 0 };
  classification = null;
  segmentation = null;
  problems = {};
  picture = null; // a blob that this browser can show
  heat = null;

  constructor(file, name, onChange) {
    Object.assign(this, { file, name, onChange });
  }

  /** Share of the uploads that has left, in [0, 1]. */
  get progress() {
    return (this.sent.classification + this.sent.segmentation) / 2;
  }

  get label() {
    if (this.state === "failed" && !this.classification && !this.segmentation) return "Refused";
    if (this.classification) {
      return headlineOf(this.classification) + (contradictionOf(this) ? ", outline disagrees" : "");
    }
    return { waiting: "Waiting", working: "Working" }[this.state] ?? "Answered in part";
  }

  /** Ask for what has not been answered yet; never rejects. */
  async run() {
    this.state = "working";
    this.problems = {};
    this.onChange(this);
    await Promise.all([
      this.#local(),
      this.#ask("classification", classify),
      this.#ask("segmentation", segment),
    ]);
    if (!this.picture && this.segmentation) await this.#fromServer();
    this.state = Object.keys(this.problems).length ? "failed" : "done";
    this.onChange(this);
  }

  async #ask(kind, request) {
    if (this[kind]) return;
    const onProgress = (share) => { this.sent[kind] = share; this.onProgress?.(this); };
    try {
      this[kind] = await request(this.file, { onProgress });
      const explanation = this[kind].explanation;
      if (explanation) this.heat = new Blob([bytesOf(explanation.data)], { type: explanation.media_type });
    } catch (error) {
      this.problems[kind] = problemOf(error);
    }
    this.onChange(this);
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
