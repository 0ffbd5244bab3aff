// The picture on show, with its code: what shows one, and what follows once it stays.

import { decodeOne, placeOf, pointCode, pointPlace } from "./ask.js";
import { click, later, latest } from "./busy.js";
import { $, make } from "./dom.js";
import * as latent from "./latent.js";
import { nameOf, short } from "./names.js";
import { numberOf } from "./numbers.js";
import { paint } from "./pictures.js";
import { stopPlaying } from "./player.js";
import { copy, save } from "./saving.js";
import { state } from "./state.js";
import { complain } from "./status.js";

/** The picture on show: its code, its pixels, a line that says what it is, and "walk" or "sum" where it is of one. */
export const current = { code: null, pixels: null, what: "", of: null };

const listeners = [];

/** Let something be done once a picture stays. */
export const whenSettled = (work) => listeners.push(work);

/** What follows a picture once it stays. */
export const settled = later(120, () => {
  for (const work of listeners) work();
});

/**
 * Show a picture that `what` names and `how` explains. `at` is its place on the map: [x, y], null to leave the cursor
 * alone, undefined to ask the backend.
 * `passing` pictures, as those of a walk, are followed by others at once: nothing else is worked out for them.
 * `of` names what the picture goes with, when that is cleared.
 */
export function show(code, pixels, what, { at, how = "", passing = false, of = null } = {}) {
  Object.assign(current, { code: Float32Array.from(code), pixels, what, of });
  paint($("picture"), pixels);
  $("picture").setAttribute("aria-label", `The current picture: ${what}`);
  $("what").textContent = what;
  $("how").textContent = how;
  $("code").value = latent.write(code);
  $("code").removeAttribute("aria-invalid");
  if (at) state.map.setCursor(...at);
  if (at === undefined) placeLatest(current.code);
  if (!passing) settled();
}

const placeLatest = latest(async (code) => {
  const [x, y] = await placeOf(code);
  if (code === current.code) state.map.setCursor(x, y);
});

export const showCode = latest(async (code, what, options) => show(code, await decodeOne(code), what, options));

/** The same code, once the decoder is told something else. */
export const decodeAnew = () =>
  showCode(current.code, current.what, { at: null, how: $("how").textContent, of: current.of });

export async function showPoint(index) {
  stopPlaying();
  const code = await pointCode(index);
  const { seeds_map: seeds, makes_images: makes } = state.about;
  const name = nameOf(index);
  const what = seeds ? `Sample of seed ${numberOf(index)}` : makes ? `What the model makes of ${name}` : name;
  show(code, await decodeOne(code), what, { at: pointPlace(index) });
}

export const decodeUnder = latest(async (x, y) => {
  const { code, pixels } = await state.backend.under(x, y);
  show(code, pixels, `Under the cursor, at ${short(x)}, ${short(y)}`, { at: null, how: state.about.map.note });
});

/** Show something else where the picture is of a walk or a sum that isn't there any more. */
export function leave(of) {
  if (current.of === of) decodeUnder(...state.map.cursor);
}

function typedCode() {
  try {
    const code = latent.read($("code").value, state.about.latent_dim);
    stopPlaying();
    showCode(code, "The code that you typed");
  } catch (error) {
    $("code").setAttribute("aria-invalid", "true");
    complain(error);
  }
}

function savePicture() {
  const canvas = paint(make("canvas"), current.pixels);
  canvas.toBlob((blob) => save(`${state.about.run}.png`, blob), "image/png");
}

export function wireCurrent() {
  $("code").onchange = typedCode;
  click("copy-code", () => copy(latent.write(current.code), "the code"));
  click("save-picture", savePicture);
}
