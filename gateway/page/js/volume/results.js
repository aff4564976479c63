// A finished job: millilitres by region, three planes, the viewer and the files.

import { problemBox } from "../advice.js";
import { problemOf } from "../api.js";
import { button, element, save, table } from "../dom.js";
import { nameOf, size } from "../format.js";
import { resultOf } from "./jobs.js";
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
    this.root.append(
      ...job.warnings.map((text) => element("p", { className: "check bad", text })),
      element("h3", { text: "Volumes" }), regionTable(job.measurements.regions ?? {}),
      element("h3", { text: "Largest sections" }), planes,
      element("h3", { text: "Look through it" }), viewer,
      element("h3", { text: "Downloads" }), element("p", { className: "row" }, job.results.map((result) =>
        button(`${result.name} (${size(result.size)})`, () => this.#download(result)))));
    this.root.hidden = false;
    await Promise.all([
      this.#guarded(planes, () => this.#showPlanes(planes, byName, signal)),
      this.#guarded(viewer, () => this.#showViewer(viewer, byName, signal)),
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

  async #showViewer(place, { "segmentation.nii.gz": segmentation, "backdrop.nii.gz": backdrop }, signal) {
    if (!segmentation) return;
    if (!hasWebGl2()) {
      place.append(element("p", { className: "fine", text: "This browser has no WebGL 2, which the viewer needs. " +
        "The planes above and the files below are complete." }));
      return;
    }
    const [labels, image] = await Promise.all(
      [segmentation, backdrop].map((result) => (result ? resultOf(result, signal) : null)));
    this.#viewer = new VolumeViewer(place);
    await this.#viewer.open(labels, image);
  }

  async #download(result) {
    await this.#guarded(this.root, async () => save(await resultOf(result), `falx-${result.name}`));
  }
}

function regionTable(regions) {
  const number = (value, unit) => (value === undefined || value === null ? "" : `${value.toFixed(1)} ${unit}`);
  const rows = Object.entries(regions).map(([name, region]) => element("tr", {},
    element("th", { scope: "row", text: nameOf(name) }),
    element("td", { text: `${region.volume_ml.toFixed(2)} ml` }),
    element("td", { text: number(region.longest_diameter_mm, "mm") })));
  if (!rows.length) return element("p", { className: "verdict", text: "No tumour outlined" });
  return table("Volumes by region", ["Region", "Volume", "Longest diameter"], rows);
}
