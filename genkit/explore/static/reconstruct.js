// The Reconstruct tab: an image of one's own or one of the points', beside what the model makes of it.

import { decodeOne, pointCode, pointPlace } from "./ask.js";
import { click, latest } from "./busy.js";
import { show } from "./current.js";
import { $ } from "./dom.js";
import { fileRefusal, readFile } from "./files.js";
import { nameOf } from "./names.js";
import { randomIndices } from "./numbers.js";
import { originalsOf } from "./originals.js";
import { paint } from "./pictures.js";
import { stopPlaying } from "./player.js";
import { state } from "./state.js";
import { say } from "./status.js";
import { choose } from "./tabs.js";
import { conditionOf, tell } from "./told.js";

let last = null; // what is reconstructed: its pixels, code and name

export async function reconstructFile(file) {
  stopPlaying();
  choose("reconstruct");
  const name = file.name || "your image";
  const reading = `Reading ${name}…`;
  say(reading);
  const found = await readFile(file);
  if (!found) return;
  if ($("status").textContent === reading) say(""); // something else may have been said meanwhile
  const { pixels, code, place } = found;
  await reconstructed(pixels, code, place, name);
  state.map.setMarks([{ x: place[0], y: place[1], name: "yours" }]);
}

async function reconstructPoint() {
  const [index] = randomIndices(1);
  const [[pixels], code] = [await originalsOf([index]), await pointCode(index)];
  const own = conditionOf(index);
  if (own) tell(own); // with another, it would be no reconstruction
  await reconstructed(pixels, code, pointPlace(index), nameOf(index));
  state.map.setMarks([]);
}

async function reconstructed(pixels, code, place, name) {
  last = { pixels, code, name };
  const decoded = await paintLast();
  show(code, decoded, `Reconstruction of ${name}`, { at: place });
}

async function paintLast() {
  const { pixels, code, name } = last;
  const decoded = await decodeOne(code);
  paint($("original"), pixels);
  paint($("reconstructed"), decoded);
  const error = decoded.reduce((sum, value, k) => sum + ((value - pixels[k]) / 255) ** 2, 0);
  $("original-caption").textContent = name;
  $("reconstruction-error").textContent = `squared error ${error.toPrecision(3)}, summed over the image`;
  $("reconstruction").hidden = false;
  return decoded;
}

/** The same code, once the decoder is told something else. */
export const reconstructedAnew = latest(async () => {
  if (last) await paintLast();
});

export function fillReconstruct() {
  const [refusal, encoder] = [fileRefusal(), state.about.encoder];
  let note = "The model encodes an image and decodes its code again.";
  if (refusal) note = refusal;
  else if (encoder !== true) note = `${encoder}, which takes a while.`;
  if (!refusal && state.about.condition) note += " It takes your image for what is chosen above.";
  $("encoder-note").textContent = note;
  $("file").disabled = refusal !== null;
  $("drop").classList.toggle("refused", refusal !== null);
  $("random-original").hidden = state.about.seeds_map;
}

export function wireReconstruct() {
  click("random-original", reconstructPoint);
}
