// The Walk tab: stops, the way between them as frames, and the GIF of it.

import { decodeAll, decodeOne, placeAll, placeOf, pointCode, pointCodes, pointPlace, seedCode } from "./ask.js";
import { click, latest } from "./busy.js";
import { current, leave, show } from "./current.js";
import { $, make, removeButton } from "./dom.js";
import * as gif from "./gif.js";
import * as latent from "./latent.js";
import { captionOf, count, nameOf, short } from "./names.js";
import { pointIn, randomIndices, seedIn } from "./numbers.js";
import { imageOf } from "./pictures.js";
import { FRAME, isPlaying, startPlaying, stopPlaying } from "./player.js";
import { save } from "./saving.js";
import { state } from "./state.js";
import { say } from "./status.js";
import { chosenTab } from "./tabs.js";
import { thumb } from "./thumbs.js";

const MOST_STOPS = 16;

/** The stops, all frames of the way between them with their pictures and places, and the frame on show. */
const walk = { stops: [], frames: [], pictures: [], places: [], at: 0 };

/** Add a stop; `label` is what a small picture has room for. */
async function addStop(code, pixels, name, { at, label = name } = {}) {
  if (walk.stops.length >= MOST_STOPS) throw new Error(`A walk has at most ${MOST_STOPS} stops: remove one first.`);
  walk.stops.push({ code: Float32Array.from(code), pixels, name, label, at: at || (await placeOf(code)) });
  stopsChanged();
}

export async function addStopAt(x, y) {
  const { code, pixels } = await state.backend.under(x, y);
  await addStop(code, pixels, `${short(x)}, ${short(y)}`, { at: [x, y] });
}

async function addNumberedStop() {
  const field = $("stop-number");
  if ($("stop-kind").value === "seed") {
    const seed = seedIn(field);
    const code = await seedCode(seed);
    await addStop(code, await decodeOne(code), `seed ${seed}`);
  } else {
    const index = pointIn(field);
    const code = await pointCode(index);
    const place = { at: pointPlace(index), label: captionOf(index) };
    await addStop(code, await decodeOne(code), nameOf(index), place);
  }
  field.value = String(Number(field.value) + 1);
}

async function addRandomStops() {
  const indices = randomIndices(Math.min(4, MOST_STOPS - walk.stops.length));
  if (!indices.length) throw new Error(`A walk has at most ${MOST_STOPS} stops: remove one first.`);
  const codes = await pointCodes(indices);
  const pictures = await decodeAll(codes);
  indices.forEach((index, k) => {
    const names = { name: nameOf(index), label: captionOf(index) };
    walk.stops.push({ code: codes[k], pixels: pictures[k], at: pointPlace(index), ...names });
  });
  stopsChanged();
}

/** The same stops and their way, once the decoder is told something else. */
export const walkAnew = latest(async () => {
  if (!walk.stops.length) return;
  const stops = [...walk.stops];
  const pictures = await decodeAll(stops.map((stop) => stop.code));
  stops.forEach((stop, k) => (stop.pixels = pictures[k]));
  if (!walkAnew.overtaken()) stopsChanged();
});

function stopsChanged() {
  stopPlaying();
  $("stops").replaceChildren(
    ...walk.stops.map((stop, k) => {
      const go = () => showFrame(Math.min(k * (stepsBetween() - 1), walk.frames.length - 1));
      const item = thumb(stop.pixels, stop.label, go, `Stop ${k + 1}: ${stop.name}`);
      item.firstChild.prepend(make("span", { className: "number", textContent: String(k + 1) }));
      item.append(removeButton(`stop ${k + 1}`, () => {
        walk.stops.splice(k, 1);
        stopsChanged();
        $("stop-current").focus();
      }));
      return item;
    }),
  );
  $("stops").classList.toggle("empty", !walk.stops.length);
  layPath();
}

function stepsBetween() {
  const steps = Math.round(Number($("walk-steps").value));
  return Math.min(64, Math.max(2, Number.isFinite(steps) ? steps : 16));
}

const layPath = latest(async () => {
  const kind = document.querySelector("input[name=walk-kind]:checked").value;
  const waypoints = walk.stops.map((stop) => stop.code);
  const frames = waypoints.length > 1 ? latent.path(waypoints, stepsBetween(), kind, state.about.prior.mean) : [];
  walk.frames = [];
  walk.pictures = [];
  walk.places = [];
  readyToPlay();
  const pictures = await decodeAll(frames);
  const places = await placeAll(frames);
  if (layPath.overtaken()) return;
  Object.assign(walk, { frames, pictures, places, at: 0 });
  readyToPlay();
  if (!frames.length) leave("walk");
  else if (chosenTab() === "walk") showFrame(0);
});

function readyToPlay() {
  const frames = walk.frames.length;
  $("player").hidden = frames === 0;
  $("player").dataset.frames = String(frames);
  $("scrub").max = String(Math.max(0, frames - 1));
  $("scrub").value = "0";
  drawWalk();
  drawStrip();
}

export function drawWalk() {
  const at = walk.places[walk.at] || null;
  if (chosenTab() === "walk") state.map.setPath(walk.places, walk.stops.map((stop) => stop.at), at);
  else state.map.setPath([], [], null);
}

function showFrame(number) {
  if (!walk.frames.length) return;
  walk.at = number;
  $("scrub").value = String(number);
  $("frame-number").textContent = `${number + 1} / ${walk.frames.length}`;
  $("scrub").setAttribute("aria-valuetext", `Frame ${number + 1} of ${walk.frames.length}`);
  show(walk.frames[number], walk.pictures[number], `Frame ${number + 1} of a walk over ${walk.stops.length} stops`, {
    at: walk.places[number],
    passing: true,
    of: "walk",
  });
  drawWalk();
}

function play() {
  if (isPlaying()) {
    stopPlaying();
    return;
  }
  if (walk.frames.length < 2) return;
  if (walk.at >= walk.frames.length - 1) showFrame(0);
  startPlaying(() => {
    const last = walk.at >= walk.frames.length - 1;
    if (last && !$("loop").checked) return false;
    showFrame(last ? 0 : walk.at + 1);
    return true;
  });
}

/** All frames of the walk, or as many as fit, on one canvas, row by row. */
function drawStrip() {
  const canvas = $("strip");
  const { width, height } = state.about.image;
  const number = Math.min(40, walk.pictures.length);
  const columns = Math.min(10, number);
  canvas.width = Math.max(1, columns * (width + 1) - 1);
  canvas.height = Math.max(1, Math.ceil(number / 10) * (height + 1) - 1);
  const context = canvas.getContext("2d");
  for (let k = 0; k < number; k++) {
    const frame = number === 1 ? 0 : Math.round((k * (walk.pictures.length - 1)) / (number - 1));
    context.putImageData(imageOf(walk.pictures[frame]), (k % 10) * (width + 1), Math.floor(k / 10) * (height + 1));
  }
  canvas.setAttribute("aria-label", `${count(number, "frame", "frames")} of the walk`);
}

function saveGif() {
  const { width, height, channels } = state.about.image;
  const bytes = gif.encode({ width, height, channels, frames: walk.pictures, centiseconds: FRAME / 10 });
  save("walk.gif", new Blob([bytes], { type: "image/gif" }));
  say(`Saved walk.gif, ${count(walk.pictures.length, "frame", "frames")}.`);
}

export function fillWalk() {
  // Two numbers don't lie on a shell: the great circle's point is lost, and its way would leave the map.
  if (state.about.latent_dim <= 2) document.querySelector("input[value=lerp]").checked = true;
  readyToPlay();
  $("stops").classList.add("empty");
}

export function wireWalk() {
  click("stop-current", () => addStop(current.code, current.pixels, current.what));
  click("stops-random", addRandomStops);
  click("stop-add", addNumberedStop);
  click("stops-clear", () => {
    walk.stops = [];
    stopsChanged();
  });
  for (const input of document.querySelectorAll("input[name=walk-kind], #walk-steps")) {
    input.onchange = () => {
      stopPlaying();
      layPath();
    };
  }
  click("play", play);
  click("save-gif", saveGif);
  $("scrub").oninput = () => {
    stopPlaying();
    showFrame(Number($("scrub").value));
  };
}
