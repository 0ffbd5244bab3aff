// Pixels, as a backend gives them, as pictures on canvases.

import { make } from "./dom.js";
import { state } from "./state.js";

/** Show pixels (H, W, C) on a canvas. */
export function paint(canvas, pixels) {
  const { width, height } = state.about.image;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(imageOf(pixels), 0, 0);
  return canvas;
}

export const small = (pixels) => paint(make("canvas", { "aria-hidden": "true" }), pixels);

export function imageOf(pixels) {
  const { width, height, channels } = state.about.image;
  const image = new ImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * k + channel] = pixels[k * channels + (channels === 1 ? 0 : channel)];
    }
    image.data[4 * k + 3] = 255;
  }
  return image;
}

export const sizeOfImage = () => state.about.image.width * state.about.image.height * state.about.image.channels;

/** The pictures whose pixels stand one after another in one array. */
export function picturesOf(joined) {
  const size = sizeOfImage();
  return Array.from({ length: joined.length / size }, (_, k) => joined.subarray(k * size, (k + 1) * size));
}
