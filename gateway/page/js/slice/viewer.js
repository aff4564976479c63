// The light box: a canvas that shows a slice and its layers, windowed, zoomed and moved.

import { compose, outlinePath, pixelsOf } from "./layers.js";

const OUTLINE = "255 92 77";
const CANDIDATE = "255 214 79";
const MOST_ZOOM = 16;

export class LightBox {
  #base = null;
  #heat = null;
  #outline = null;
  #candidate = null;
  #picture = null; // the composed slice, in its own pixels
  #stale = true;
  #waiting = false;
  #look = { window: 1, level: 0.5, heatOpacity: 0, outlineOpacity: 1 };
  #view = { zoom: 1, x: 0, y: 0 }; // x, y: how far the centre has moved, as a share of the slice

  /** `onWindow(window, level)` is told of changes that are made by dragging. */
  constructor(canvas, onWindow) {
    this.canvas = canvas;
    this.onWindow = onWindow;
    new ResizeObserver(() => this.#draw()).observe(canvas);
    canvas.addEventListener("keydown", (event) => this.#onKey(event));
    canvas.addEventListener("wheel", (event) => this.#onWheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#onDrag(event));
  }

  clear() {
    this.#base = this.#heat = this.#outline = this.#candidate = this.#picture = null;
    this.#draw();
  }

  async setSlice(blob) {
    this.#base = await pixelsOf(blob);
    this.#picture = new OffscreenCanvas(this.#base.width, this.#base.height);
    this.#composeAndDraw();
  }

  async setHeat(blob) {
    this.#heat = await pixelsOf(blob, this.#base);
    this.#composeAndDraw();
  }

  setOutline(contours, size) {
    this.#outline = outlinePath(contours, size, this.#base.width);
    this.#draw();
  }

  /** Where a tumour is likeliest although none is outlined: dashed, hollow and named, so that nobody takes it for one. */
  setCandidate(contours, size) {
    const scale = this.#base.width / size[1];
    const [x, y] = contours.flat().reduce((low, place) => (place[1] < low[1] ? place : low));
    this.#candidate = {
      path: outlinePath(contours, size, this.#base.width), place: [(x + 0.5) * scale, (y + 0.5) * scale],
    };
    this.#draw();
  }

  /** Change window, level, heatOpacity or outlineOpacity, all in [0, 1]. */
  look(changes) {
    Object.assign(this.#look, changes);
    this.#composeAndDraw();
  }

  zoomBy(factor) {
    this.#view.zoom = Math.min(MOST_ZOOM, Math.max(1, this.#view.zoom * factor));
    this.#move(0, 0);
  }

  fit() {
    this.#view = { zoom: 1, x: 0, y: 0 };
    this.#draw();
  }

  #move(x, y) {
    const room = (1 - 1 / this.#view.zoom) / 2;
    const kept = (value) => Math.min(room, Math.max(-room, value));
    Object.assign(this.#view, { x: kept(this.#view.x + x), y: kept(this.#view.y + y) });
    this.#draw();
  }

  #composeAndDraw() {
    this.#stale = true;
    this.#draw();
  }

  /** Once a frame at most, however many sliders move. */
  #draw() {
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => { this.#waiting = false; this.#paint(); });
  }

  #paint() {
    const { canvas } = this;
    const density = window.devicePixelRatio || 1;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * density));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * density));
    if (!this.#base) return;
    if (this.#stale) {
      const composed = new ImageData(this.#base.width, this.#base.height);
      compose(composed, this.#base, this.#heat, this.#look);
      this.#picture.getContext("2d").putImageData(composed, 0, 0);
      this.#stale = false;
    }
    const context = canvas.getContext("2d");
    const { width, height } = this.#base;
    const scale = this.#scale();
    context.translate(canvas.width / 2, canvas.height / 2);
    context.scale(scale, scale);
    context.translate(-width * (0.5 + this.#view.x), -height * (0.5 + this.#view.y));
    context.imageSmoothingEnabled = scale < 6; // from there on people want to see the pixels
    context.drawImage(this.#picture, 0, 0);
    if (this.#candidate && this.#look.outlineOpacity > 0) this.#paintCandidate(context, density / scale);
    if (this.#outline && this.#look.outlineOpacity > 0) {
      context.lineWidth = (2 * density) / scale;
      context.lineJoin = "round";
      context.strokeStyle = `rgb(${OUTLINE} / ${this.#look.outlineOpacity})`;
      context.fillStyle = `rgb(${OUTLINE} / ${0.16 * this.#look.outlineOpacity})`;
      context.fill(this.#outline, "evenodd");
      context.stroke(this.#outline);
    }
  }

  /** `pixel` is the size of a pixel of the screen in the slice's own. */
  #paintCandidate(context, pixel) {
    const { path, place: [x, y] } = this.#candidate;
    const colour = `rgb(${CANDIDATE} / ${this.#look.outlineOpacity})`;
    context.save();
    Object.assign(context, { lineWidth: 2 * pixel, strokeStyle: colour, fillStyle: colour, textAlign: "center" });
    context.setLineDash([6 * pixel, 5 * pixel]);
    context.stroke(path);
    context.font = `${14 * pixel}px sans-serif`;
    context.fillText("candidate", x, y - 8 * pixel);
    context.restore();
  }

  #scale() {
    return Math.min(this.canvas.width / this.#base.width, this.canvas.height / this.#base.height) * this.#view.zoom;
  }

  #onKey(event) {
    const step = 0.1 / this.#view.zoom;
    const actions = {
      "+": () => this.zoomBy(1.25), "=": () => this.zoomBy(1.25), "-": () => this.zoomBy(0.8), "0": () => this.fit(),
      ArrowLeft: () => this.#move(-step, 0), ArrowRight: () => this.#move(step, 0),
      ArrowUp: () => this.#move(0, -step), ArrowDown: () => this.#move(0, step),
    };
    if (event.ctrlKey || event.metaKey || !actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  /** Only with focus: a page that is scrolled past the picture must not stop there. */
  #onWheel(event) {
    if (document.activeElement !== this.canvas && !event.ctrlKey) return;
    event.preventDefault();
    this.zoomBy(event.deltaY < 0 ? 1.15 : 1 / 1.15);
  }

  /** Dragging moves the slice; with Shift it changes window (across) and level (up and down). */
  #onDrag(start) {
    if (!this.#base || (start.pointerType === "touch" && this.#view.zoom === 1)) return;
    this.canvas.setPointerCapture(start.pointerId);
    let [x, y] = [start.clientX, start.clientY];
    const onMove = (event) => {
      const [dx, dy] = [event.clientX - x, event.clientY - y];
      [x, y] = [event.clientX, event.clientY];
      if (start.shiftKey) this.#windowBy(dx / this.canvas.clientWidth, dy / this.canvas.clientHeight);
      else this.#moveByPixels(dx, dy);
    };
    this.canvas.addEventListener("pointermove", onMove);
    const onEnd = () => this.canvas.removeEventListener("pointermove", onMove);
    this.canvas.addEventListener("lostpointercapture", onEnd, { once: true });
  }

  #moveByPixels(dx, dy) {
    const scale = this.#scale() / (window.devicePixelRatio || 1);
    this.#move(-dx / (this.#base.width * scale), -dy / (this.#base.height * scale));
  }

  #windowBy(across, down) {
    const kept = (value, least) => Math.min(1, Math.max(least, value));
    this.look({ window: kept(this.#look.window + across, 0.02), level: kept(this.#look.level + down, 0) });
    this.onWindow(this.#look.window, this.#look.level);
  }
}
