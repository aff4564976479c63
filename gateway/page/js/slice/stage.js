// The light box with its controls: which layers can be seen, and how.

import { $, button, element, slider } from "../dom.js";
import { LightBox } from "./viewer.js";

const HEAT_AT_FIRST = 0.45;

export class Stage {
  constructor(root) {
    const canvas = $("canvas", root);
    this.canvas = canvas;
    this.box = new LightBox(canvas, (window, level) => {
      this.window.set(Math.round(100 * window));
      this.level.set(Math.round(100 * level));
    });
    const look = (name) => (value) => this.box.look({ [name]: value / 100 });
    this.heat = slider("Heat map", { value: 0 }, look("heatOpacity"));
    this.outline = slider("Outline", {}, look("outlineOpacity"));
    this.window = slider("Window", { min: 2 }, look("window"));
    this.level = slider("Level", { value: 50 }, look("level"));
    const sliders = [this.heat, this.outline, this.window, this.level];
    $(".controls", root).append(
      element("div", { className: "sliders" }, sliders.map(({ label }) => label)),
      element("p", { className: "row" },
        button("Zoom in", () => this.box.zoomBy(1.5)), button("Zoom out", () => this.box.zoomBy(1 / 1.5)),
        button("Fit", () => this.box.fit()), button("Reset window", () => this.#resetWindow())),
      element("p", { className: "fine",
        text: "Drag to move; Shift and drag for window and level. Keys: + − 0 and arrows." }));
  }

  /** Show `slice`; its layers are null until the server has answered. */
  async show({ picture, heat, segmentation, candidate, label }) {
    this.heat.input.disabled = !heat;
    this.outline.input.disabled = !segmentation;
    this.canvas.setAttribute("aria-label", label);
    if (!picture) { this.box.clear(); return; }
    await this.box.setSlice(picture);
    if (heat) await this.box.setHeat(heat);
    if (segmentation) this.box.setOutline(segmentation.contours, segmentation.size);
    if (candidate) this.box.setCandidate(candidate.contours, segmentation.size);
  }

  /** Another slice begins as the first one did. */
  reset(heatIsWanted) {
    const heat = heatIsWanted ? HEAT_AT_FIRST : 0;
    this.box.clear();
    this.box.fit();
    this.box.look({ heatOpacity: heat, outlineOpacity: 1 });
    this.heat.set(100 * heat);
    this.outline.set(100);
    this.#resetWindow();
  }

  #resetWindow() {
    this.box.look({ window: 1, level: 0.5 });
    this.window.set(100);
    this.level.set(50);
  }
}
