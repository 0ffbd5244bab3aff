// What a person does on the map, and what follows: the Map tab, and the buttons that move the view.

import { attempt, click, latest } from "./busy.js";
import { addTerm } from "./calculate.js";
import { decodeUnder } from "./current.js";
import { $, make } from "./dom.js";
import { LatentMap } from "./map.js";
import { nameOf } from "./names.js";
import { keptOriginal, originalsOf } from "./originals.js";
import { paint, sizeOfImage } from "./pictures.js";
import { stopPlaying } from "./player.js";
import { state } from "./state.js";
import { say } from "./status.js";
import { chosenTab } from "./tabs.js";
import { showThumbs } from "./thumbs.js";
import { addStopAt } from "./walk.js";

/** The map of all points, within its element. */
export function openMap() {
  const map = new LatentMap($("map"), { move: moved, pick: picked, hover: hovered });
  map.axes = state.about.map.axes;
  map.setPoints(state.points);
  return map;
}

function moved(x, y) {
  stopPlaying();
  decodeUnder(x, y);
}

function picked(x, y) {
  if (chosenTab() === "walk") attempt(() => addStopAt(x, y));
  else if (chosenTab() === "calculate") {
    const index = state.map.nearest(...state.map.toScreen(x, y));
    if (index !== null) addTerm({ term: `point:${index}`, name: nameOf(index) });
  }
}

/** Fill the tip beside a point with its picture and name, as soon as the picture is there. */
function hovered(index, tip, byKeys) {
  if (byKeys) say(nameOf(index)); // to those who don't see the tip
  const caption = make("span", { textContent: nameOf(index) });
  const put = (pixels) => tip.replaceChildren(paint(make("canvas"), pixels), caption);
  const kept = keptOriginal(index);
  if (kept) put(kept);
  else {
    put(new Uint8ClampedArray(sizeOfImage()));
    fetchHovered(index, (pixels) => state.map.hovered === index && put(pixels));
  }
}

const fetchHovered = latest(async (index, done) => done(...(await originalsOf([index]))));

export const showNear = latest(async (code) => {
  await showThumbs($("map-near"), [...(await state.backend.near(code))]);
});

export function wireMap() {
  const { map } = state;
  click("zoom-in", () => map.zoom(1.5));
  click("zoom-out", () => map.zoom(1 / 1.5));
  click("zoom-all", () => map.fit());
  click("pan", () => {
    map.setPanning(!map.panning);
    $("pan").setAttribute("aria-pressed", String(map.panning));
  });
}
