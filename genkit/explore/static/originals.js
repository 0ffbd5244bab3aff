// Points' own images: asked for once, and kept as long as there is room.

import { AT_ONCE } from "./ask.js";
import { picturesOf, sizeOfImage } from "./pictures.js";
import { state } from "./state.js";

const MOST_KEPT = 64e6; // bytes of points' images that are kept, for who comes back to them

const originals = new Map(); // pixels of points, by their index

/** A point's own image, where it has been asked for; undefined where it hasn't. */
export const keptOriginal = (index) => originals.get(index);

/** Points' own images. Those that were fetched first make room for others, and may be fetched again. */
export async function originalsOf(indices) {
  const found = new Map(indices.map((index) => [index, originals.get(index)]));
  const missing = [...found.keys()].filter((index) => !found.get(index));
  for (let k = 0; k < missing.length; k += AT_ONCE) {
    const part = missing.slice(k, k + AT_ONCE);
    picturesOf(await state.backend.originals(part)).forEach((pixels, at) => found.set(part[at], pixels));
  }
  for (const index of missing) originals.set(index, found.get(index));
  for (const oldest of originals.keys()) {
    if (originals.size * sizeOfImage() <= MOST_KEPT) break;
    originals.delete(oldest);
  }
  return indices.map((index) => found.get(index));
}
