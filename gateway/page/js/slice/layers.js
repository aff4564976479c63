// Pixels of a slice and its layers, put together. Nothing here knows of the screen.

// A display shows no more than this; larger slices are drawn smaller, masks and answers keep their own pixels.
const LONGEST_SIDE = 2048;

/** Pixels of a picture file as ImageData, at most LONGEST_SIDE a side, or of exactly `like`'s size. */
export async function pixelsOf(blob, like = null) {
  const bitmap = await createImageBitmap(blob);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const width = like?.width ?? Math.max(1, Math.round(bitmap.width * scale));
  const height = like?.height ?? Math.max(1, Math.round(bitmap.height * scale));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, width, height); // transparency lies over black, as on the server
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

/** What a window (width and centre as shares of the range) makes of each of 256 values. */
function windowed(width, level) {
  const table = new Float32Array(256);
  for (let value = 0; value < 256; value += 1) {
    table[value] = 255 * ((value / 255 - level) / Math.max(width, 1 / 255) + 0.5);
  }
  return table;
}

/**
 * The slice under its window with the heat map over it, into `target`. The server's picture is the slice blended with
 * colours: its difference from the slice is the heat alone, which so stays itself under any window.
 */
export function compose(target, base, heat, { window, level, heatOpacity }) {
  const table = windowed(window, level);
  const [out, below, above] = [target.data, base.data, heat?.data];
  const share = above ? heatOpacity : 0;
  for (let i = 0; i < out.length; i += 4) {
    for (let c = i; c < i + 3; c += 1) {
      out[c] = table[below[c]] + (share ? share * (above[c] - below[c]) : 0); // clamped by the array
    }
    out[i + 3] = 255;
  }
}

/** The outlines as one path in the pixels of a picture `width` wide; contours are in the slice's, `size` [h, w]. */
export function outlinePath(contours, size, width) {
  const scale = width / size[1];
  const path = new Path2D();
  for (const contour of contours) {
    contour.forEach(([x, y], index) => {
      const place = [(x + 0.5) * scale, (y + 0.5) * scale];
      if (index === 0) path.moveTo(...place); else path.lineTo(...place);
    });
    path.closePath();
  }
  return path;
}
