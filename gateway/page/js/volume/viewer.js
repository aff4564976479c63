// NiiVue around a label map: three linked planes and a rendering, loaded when somebody has results to look at.

import { button, element, slider } from "../dom.js";
import { isNifti } from "./sequences.js";

const SCRIPT = "/page/vendor/niivue/niivue.umd.js";
// By label, in colours that colour-blind readers tell apart (Okabe and Ito), as in the pictures of the planes.
const COLOURS = [[0, 0, 0, 0], [213, 94, 0, 255], [240, 228, 66, 255], [86, 180, 233, 255]];
const channel = (index) => COLOURS.map((colour) => colour[index]);
const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** `names` by label, as the report has them. */
const colourMap = (names) => ({
  R: channel(0), G: channel(1), B: channel(2), A: channel(3),
  labels: COLOURS.map((_, label) => capitalised(names[label] ?? "")),
});

function legend(names) {
  return element("p", { className: "row legend" }, Object.entries(names).map(([label, name]) => {
    const [r, g, b] = COLOURS[label];
    const swatch = element("span", { className: "swatch", "aria-hidden": "true" });
    swatch.style.background = `rgb(${r} ${g} ${b})`;
    return element("span", {}, swatch, capitalised(name));
  }));
}

export function hasWebGl2() {
  const context = document.createElement("canvas").getContext("webgl2");
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return context !== null;
}

let loading = null;
function niivue() {
  loading ??= new Promise((resolve, reject) => {
    const script = element("script", { src: SCRIPT, on: {
      load: () => resolve(window.niivue),
      error: () => { loading = null; reject(new Error("The viewer could not be loaded.")); },
    } });
    document.head.append(script);
  });
  return loading;
}

export class VolumeViewer {
  #nv = null;
  #labels = null;
  #names = {};

  constructor(root) {
    this.root = root;
  }

  /**
   * Show `labels` over `image`, both NIfTI blobs; or alone, where `image` is null, until somebody chooses one. `names`
   * are the labels' own, by label.
   */
  async open(labels, image, names = {}) {
    this.#labels = labels;
    this.#names = names;
    const { Niivue, SHOW_RENDER, MULTIPLANAR_TYPE } = await niivue();
    if (this.#left) return;
    this.canvas = element("canvas", { tabindex: 0, role: "img", "aria-label":
      "Three planes and a rendering of the label map; the sliders below move the planes." });
    this.status = element("p", { className: "fine", role: "status" });
    const frame = element("div", { className: "volume" }, this.canvas);
    const controls = this.#controls();
    controls.inert = true; // there is nothing to turn yet
    this.root.replaceChildren(frame, legend(names), controls, this.status);
    this.#nv = new Niivue({
      backColor: [0, 0, 0, 1], isRadiologicalConvention: true, show3Dcrosshair: true, dragAndDropEnabled: false,
      multiplanarShowRender: SHOW_RENDER.ALWAYS, multiplanarLayout: MULTIPLANAR_TYPE.GRID,
      crosshairColor: [1, 1, 1, 0.4], crosshairWidth: 0.5, loadingText: "",
    });
    this.#nv.onLocationChange = () => this.#tellPlaces();
    await this.#nv.attachToCanvas(this.canvas);
    if (this.#left) return;
    this.#nv.setSliceType(this.#nv.sliceTypeMultiplanar);
    await this.#show(image);
    controls.inert = false;
  }

  close() {
    this.#nv?.gl?.getExtension("WEBGL_lose_context")?.loseContext();
    this.#nv = null;
  }

  /** Whether the job was left while something was loading: nothing may be drawn any more. */
  get #left() {
    return !this.root.isConnected;
  }

  async #show(image) {
    const { NVImage } = await niivue();
    const imageOf = async (blob, name) => NVImage.loadFromUrl({ url: name, name, buffer: await blob.arrayBuffer() });
    const volumes = [];
    if (image) volumes.push(await imageOf(image, "image.nii.gz"));
    volumes.push(await imageOf(this.#labels, "labels.nii.gz"));
    if (this.#left) return;
    for (const volume of [...this.#nv.volumes]) this.#nv.removeVolume(volume);
    for (const volume of volumes) this.#nv.addVolume(volume);
    this.#nv.volumes.at(-1).setColormapLabel(colourMap(this.#names));
    this.#nv.setOpacity(this.#nv.volumes.length - 1, image ? 0.5 : 1);
    this.#nv.updateGLVolume();
    this.opacity.set(image ? 50 : 100);
    for (const { input } of [this.dark, this.bright]) input.disabled = !image;
    this.status.textContent = image ? "Click or scroll to move; drag with the right button for the window."
      : "Only the label map is shown: this job was sent without asking for the output backdrop. " +
        "Choose the image to see it below the labels.";
  }

  #controls() {
    const setOpacity = (value) => this.#nv.setOpacity(this.#nv.volumes.length - 1, value / 100);
    this.opacity = slider("Labels", { value: 50 }, setOpacity);
    this.dark = slider("Black from", { value: 0 }, () => this.#window());
    this.bright = slider("White from", { value: 100 }, () => this.#window());
    this.places = ["Sagittal", "Coronal", "Axial"].map((name, axis) => slider(name, { value: 50 }, (value) => {
      this.#nv.scene.crosshairPos[axis] = value / 100; // shares of the volume from right, back and below
      this.#nv.drawScene();
    }));
    const input = element("input", { type: "file", accept: ".nii,.gz", on: { change: () => {
      const [file] = input.files;
      const say = (text) => { this.status.textContent = text; };
      if (file && isNifti(file)) this.#show(file).catch((error) => say(`This image cannot be shown: ${error.message}`));
      else say("Choose a NIfTI file, .nii or .nii.gz.");
    } } });
    return element("div", { className: "controls" },
      element("div", { className: "sliders" }, this.places.map(({ label }) => label),
        this.opacity.label, this.dark.label, this.bright.label),
      element("div", { className: "row" },
        button("Planes and 3D", () => this.#nv.setSliceType(this.#nv.sliceTypeMultiplanar)),
        button("3D alone", () => this.#nv.setSliceType(this.#nv.sliceTypeRender)),
        element("label", { className: "button" }, "Choose the image", input)));
  }

  #tellPlaces() {
    this.places.forEach((place, axis) => place.set(Math.round(100 * this.#nv.scene.crosshairPos[axis])));
  }

  /** The window as shares of the image's robust range. */
  #window() {
    const [image] = this.#nv.volumes;
    const range = image.robust_max - image.robust_min;
    const [low, high] = [Number(this.dark.input.value), Number(this.bright.input.value)].sort((a, b) => a - b);
    image.cal_min = image.robust_min + (range * low) / 100;
    image.cal_max = image.robust_min + (range * Math.max(high, low + 1)) / 100;
    this.#nv.updateGLVolume();
  }
}
