// A finished job: millilitres by region, what was withheld, three planes, the viewer and the files.

import { problemBox } from "../advice.js";
import { problemOf } from "../api.js";
import { button, element, save, table } from "../dom.js";
import { nameOf, size } from "../format.js";
import { resultOf } from "./jobs.js";
import { labelLine, regionTable, seriesTable } from "./report.js";
import { VolumeViewer, hasWebGl2 } from "./viewer.js";

const PLANES = ["axial", "coronal", "sagittal"];

export class ResultsPanel {
  #urls = [];
  #stop = new AbortController();
  #viewer = null;

  constructor(root) {
    this.root = root;
  }

  clear() {
    this.#stop.abort();
    this.#stop = new AbortController();
    this.#viewer?.close();
    this.#viewer = null;
    this.#urls.forEach((url) => URL.revokeObjectURL(url));
    this.#urls = [];
    this.root.replaceChildren();
    this.root.hidden = true;
  }

  async show(job) {
    this.clear();
    const signal = this.#stop.signal;
    const byName = Object.fromEntries(job.results.map((result) => [result.name, result]));
    const planes = element("div", { className: "planes" }), viewer = element("div");
    const labels = element("div"), series = element("div");
    this.root.append(
      ...job.warnings.map((text) => element("p", { className: "check bad", text })),
      element("h3", { text: "Volumes" }), regionTable(job.measurements), labels, series,
      element("h3", { text: "Largest sections" }), planes,
      element("h3", { text: "Look through it" }), viewer,
      element("h3", { text: "Downloads" }), element("p", { className: "row" }, job.results.map((result) =>
        button(`${result.name} (${size(result.size)})`, () => this.#download(result)))));
    this.root.hidden = false;
    let report = {};
    await this.#guarded(labels, async () => {
      report = JSON.parse(await (await resultOf(byName["report.json"], signal)).text());
      labels.append(labelLine(report));
      if (report.series?.length) series.append(element("h3", { text: "Series" }), seriesTable(report.series));
    });
    await Promise.all([
      this.#guarded(planes, () => this.#showPlanes(planes, byName, signal)),
      this.#guarded(viewer, () => this.#showViewer(viewer, byName, report.labels, signal)),
    ]);
  }

  async #guarded(place, work) {
    try { await work(); } catch (error) {
      if (error.name !== "AbortError") place.append(problemBox(problemOf(error)));
    }
  }

  async #showPlanes(place, byName, signal) {
    for (const plane of PLANES.filter((name) => byName[`${name}.png`])) {
      const url = URL.createObjectURL(await resultOf(byName[`${plane}.png`], signal));
      this.#urls.push(url);
      place.append(element("figure", {},
        element("img", { src: url, alt: `The ${plane} plane through the largest section, regions outlined` }),
        element("figcaption", { text: nameOf(plane) })));
    }
  }

  async #showViewer(place, { "segmentation.nii.gz": segmentation, "backdrop.nii.gz": backdrop }, names, signal) {
    if (!segmentation) return;
    if (!hasWebGl2()) {
      place.append(element("p", { className: "fine", text: "This browser has no WebGL 2, which the viewer needs. " +
        "The planes above and the files below are complete." }));
      return;
    }
    const [labels, image] = await Promise.all(
      [segmentation, backdrop].map((result) => (result ? resultOf(result, signal) : null)));
    this.#viewer = new VolumeViewer(place);
    await this.#viewer.open(labels, image, names);
  }

  async #download(result) {
    await this.#guarded(this.root, async () => save(await resultOf(result), `falx-${result.name}`));
  }
}
