// What the parts of the page ask the backend: pictures and places of codes, codes of seeds and points.

import * as latent from "./latent.js";
import { picturesOf } from "./pictures.js";
import { state } from "./state.js";

export const AT_ONCE = 64; // codes or images that a backend takes at once
const MOST_BYTES = 1 << 16; // and the bytes of one question

/** Ask about many codes, as many at once as the backend takes. */
async function inParts(codes, ask) {
  const most = Math.max(1, Math.min(AT_ONCE, Math.floor(MOST_BYTES / (4 * state.about.latent_dim))));
  const answers = [];
  for (let k = 0; k < codes.length; k += most) answers.push(...(await ask(latent.join(codes.slice(k, k + most)))));
  return answers;
}

const codesIn = (joined) => latent.split(joined, state.about.latent_dim);

export const decodeAll = (codes) => inParts(codes, async (joined) => picturesOf(await state.backend.decode(joined)));
export const placeAll = (codes) => inParts(codes, async (joined) => latent.split(await state.backend.place(joined), 2));
export const decodeOne = async (code) => (await decodeAll([code]))[0];
export const placeOf = async (code) => (await placeAll([code]))[0];
export const seedCode = async (seed) => codesIn(await state.backend.seeds([seed]))[0];
export const pointCodes = async (points) => codesIn(await state.backend.codes(points));
export const pointCode = async (point) => (await pointCodes([point]))[0];
export const pointPlace = (point) => [state.points[2 * point], state.points[2 * point + 1]];
