// The page: what is shown, and what happens when a person does something. It asks a backend, be it a server or a file.

import * as gif from "./gif.js";
import * as latent from "./latent.js";
import { openBackend } from "./live.js";
import { LatentMap, mark, styleOf } from "./map.js";

const AT_ONCE = 64; // codes or images that a backend takes at once
const MOST_BYTES = 1 << 16; // and the bytes of one question
const MOST_KEPT = 64e6; // bytes of points' images that are kept, for who comes back to them
const MOST_STOPS = 16;
const MOST_TERMS = 8;
const FRAME = 80; // milliseconds, in the page as in the GIF
const REACH = 3; // standard deviations to either side that a slider goes
const STRIP = 9; // pictures in its strip
const FIRST_SLIDERS = 12;
const SEEDS = 2 ** 32;

const $ = (id) => document.getElementById(id);

let backend = null;
let about = null;
let map = null;
let points = null; // the map's places
let labels = null; // each colouring's number of each point
let tab = "map";
const originals = new Map(); // pixels of points, by their index
/** The picture on show: its code, its pixels, a line that says what it is, and "walk" or "sum" where it is of one. */
const current = { code: null, pixels: null, what: "", of: null };

// -------------------------------------------------------------------------------------------------------------------
// Small tools
// -------------------------------------------------------------------------------------------------------------------

/** An element with properties, attributes (those with a dash, and role) and children. */
function make(kind, properties = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A line that a person, or a screen reader, should notice. */
function say(text) {
  $("status").textContent = text;
  $("status").classList.remove("error");
}

function complain(error) {
  $("status").textContent = error.message || String(error);
  $("status").classList.add("error");
}

let pending = 0;

/** Count what is under way, for whoever waits for the page to come to rest. */
function begin(number = 1) {
  pending += number;
  document.body.dataset.busy = String(pending > 0);
}

const end = () => begin(-1);

/** Run something that may fail, and say so on the page. */
async function attempt(work) {
  begin();
  try {
    return await work();
  } catch (error) {
    complain(error);
    return undefined;
  } finally {
    end();
  }
}

/**
 * A function of which one call at a time works. Of the calls that come meanwhile, only the last is carried out: a
 * drag leaves no queue behind. While one works, `overtaken` says whether another has come: what it found is then of
 * the past, and isn't to be shown.
 */
function latest(work) {
  let busy = false;
  let waiting = null;
  async function push(...given) {
    waiting = given;
    if (busy) return;
    busy = true;
    while (waiting) {
      const next = waiting;
      waiting = null;
      await attempt(() => work(...next));
    }
    busy = false;
  }
  push.overtaken = () => waiting !== null;
  return push;
}

/** A function that is carried out some time after its last call. */
function later(milliseconds, work) {
  let timer = null;
  return (...given) => {
    if (timer === null) begin();
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = null;
      work(...given);
      end();
    }, milliseconds);
  };
}

/** Show pixels (H, W, C) on a canvas. */
function paint(canvas, pixels) {
  const { width, height } = about.image;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(imageOf(pixels), 0, 0);
  return canvas;
}

function imageOf(pixels) {
  const { width, height, channels } = about.image;
  const image = new ImageData(width, height);
  for (let k = 0; k < width * height; k++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * k + channel] = pixels[k * channels + (channels === 1 ? 0 : channel)];
    }
    image.data[4 * k + 3] = 255;
  }
  return image;
}

const sizeOfImage = () => about.image.width * about.image.height * about.image.channels;

function picturesOf(joined) {
  const size = sizeOfImage();
  return Array.from({ length: joined.length / size }, (_, k) => joined.subarray(k * size, (k + 1) * size));
}

/** Ask about many codes, as many at once as the backend takes. */
async function inParts(codes, ask) {
  const most = Math.max(1, Math.min(AT_ONCE, Math.floor(MOST_BYTES / (4 * about.latent_dim))));
  const answers = [];
  for (let k = 0; k < codes.length; k += most) answers.push(...(await ask(latent.join(codes.slice(k, k + most)))));
  return answers;
}

const decodeAll = (codes) => inParts(codes, async (joined) => picturesOf(await backend.decode(joined)));
const placeAll = (codes) => inParts(codes, async (joined) => latent.split(await backend.place(joined), 2));
const decodeOne = async (code) => (await decodeAll([code]))[0];
const placeOf = async (code) => (await placeAll([code]))[0];
const seedCode = async (seed) => latent.split(await backend.seeds([seed]), about.latent_dim)[0];
const pointCode = async (point) => latent.split(await backend.codes([point]), about.latent_dim)[0];
const pointPlace = (point) => [points[2 * point], points[2 * point + 1]];

/** Points' own images. Those that were fetched first make room for others, and may be fetched again. */
async function originalsOf(indices) {
  const found = new Map(indices.map((index) => [index, originals.get(index)]));
  const missing = [...found.keys()].filter((index) => !found.get(index));
  for (let k = 0; k < missing.length; k += AT_ONCE) {
    const part = missing.slice(k, k + AT_ONCE);
    picturesOf(await backend.originals(part)).forEach((pixels, at) => found.set(part[at], pixels));
  }
  for (const index of missing) originals.set(index, found.get(index));
  for (const oldest of originals.keys()) {
    if (originals.size * sizeOfImage() <= MOST_KEPT) break;
    originals.delete(oldest);
  }
  return indices.map((index) => found.get(index));
}

const point = () => about.points_are.replace(/s$/, "");

/** What the data say about a point: its class, and the attributes that it has. */
function describe(index) {
  const found = about.colorings.map(({ name, names }, row) => {
    const value = labels[row * about.count + index];
    if (value < 0 || value >= names.length) return "";
    return name === "class" ? names[value] : value === 1 ? name : "";
  });
  return found.filter(Boolean).join(", ");
}

/** A point's number as `genkit sample --images` and `--seeds` count, where the map has only some of them. */
const numberOf = (index) => (about.positions ? about.positions[index] : index);

function nameOf(index) {
  const known = describe(index);
  return `${about.seeds_map ? "seed" : point()} ${numberOf(index)}${known ? ` (${known})` : ""}`;
}

const short = (value) => (Math.abs(value) < 0.005 ? "0" : value.toFixed(2)).replace("-", "−");
const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

function randomIndices(number) {
  const chosen = new Set();
  const shown = Array.from({ length: about.count }, (_, k) => k).filter((k) => !map.isHidden(k));
  while (chosen.size < Math.min(number, shown.length)) chosen.add(shown[Math.floor(Math.random() * shown.length)]);
  return [...chosen];
}

/** A seed that a person typed; throws an Error where it is none. */
function seedIn(field) {
  const seed = Number(field.value);
  const seeds = about.seeds || SEEDS;
  if (field.value.trim() === "" || !Number.isInteger(seed) || seed < 0 || seed >= seeds) {
    throw new Error(`A seed is a whole number from 0 to ${seeds - 1}.`);
  }
  return seed;
}

/** A point's number that a person typed; throws an Error where there is none. */
function pointIn(field) {
  const number = Number(field.value);
  const index = about.positions ? about.positions.indexOf(number) : number;
  if (field.value.trim() === "" || !Number.isInteger(index) || index < 0 || index >= about.count) {
    const some = about.positions ? `, evenly spaced: ${numberOf(1)} is the second of ${about.count}` : "";
    throw new Error(`The map has ${about.points_are} 0 to ${numberOf(about.count - 1)}${some}.`);
  }
  return index;
}

/** A small picture to choose: `label` stands under it, `name` is what it is. */
function thumb(pixels, label, choose, name) {
  const button = make("button", { type: "button", className: "thumb", onclick: choose, title: name });
  button.setAttribute("aria-label", name);
  button.append(small(pixels), make("span", { className: "caption", textContent: label }));
  return make("div", { role: "listitem", className: "item" }, button);
}

const small = (pixels) => paint(make("canvas", { "aria-hidden": "true" }), pixels);

/** Points' own images, each to choose. */
async function showThumbs(list, indices) {
  const pictures = await originalsOf(indices);
  const thumbs = indices.map((index, k) => {
    return thumb(pictures[k], captionOf(index), () => attempt(() => showPoint(index)), nameOf(index));
  });
  list.replaceChildren(...thumbs);
}

function removeButton(name, remove) {
  const button = make("button", { type: "button", className: "remove", textContent: "×", onclick: remove });
  button.setAttribute("aria-label", `Remove ${name}`);
  return button;
}

function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Where the clipboard isn't to be had, the old way may do.
    const field = make("textarea", { value: text, className: "unseen" });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (!done) throw new Error("The browser doesn't let the page copy: select the text instead.");
  }
  say(`Copied ${what}.`);
}

// -------------------------------------------------------------------------------------------------------------------
// The current picture
// -------------------------------------------------------------------------------------------------------------------

/**
 * Show a picture that `what` names and `how` explains. `at` is its place on the map: [x, y], null to leave the cursor
 * alone, undefined to ask the backend.
 * `passing` pictures, as those of a walk, are followed by others at once: nothing else is worked out for them.
 * `of` names what the picture goes with, when that is cleared.
 */
function show(code, pixels, what, { at, how = "", passing = false, of = null } = {}) {
  Object.assign(current, { code: Float32Array.from(code), pixels, what, of });
  paint($("picture"), pixels);
  $("picture").setAttribute("aria-label", `The current picture: ${what}`);
  $("what").textContent = what;
  $("how").textContent = how;
  $("code").value = latent.write(code);
  $("code").removeAttribute("aria-invalid");
  if (at) map.setCursor(...at);
  if (at === undefined) placeLatest(current.code);
  if (!passing) settled();
}

const placeLatest = latest(async (code) => {
  const [x, y] = await placeOf(code);
  if (code === current.code) map.setCursor(x, y);
});

const showCode = latest(async (code, what, options) => show(code, await decodeOne(code), what, options));

/** What follows a picture once it stays. */
const settled = later(120, () => {
  if (tab === "map") showNear(current.code);
  if (tab === "sliders") drawSliders();
});

const decodeUnder = latest(async (x, y) => {
  const { code, pixels } = await backend.under(x, y);
  show(code, pixels, `Under the cursor, at ${short(x)}, ${short(y)}`, { at: null, how: about.map.note });
});

/** Show something else where the picture is of a walk or a sum that isn't there any more. */
function leave(of) {
  if (current.of === of) decodeUnder(...map.cursor);
}

function typedCode() {
  try {
    const code = latent.read($("code").value, about.latent_dim);
    stopPlaying();
    showCode(code, "The code that you typed");
  } catch (error) {
    $("code").setAttribute("aria-invalid", "true");
    complain(error);
  }
}

function savePicture() {
  const canvas = paint(make("canvas"), current.pixels);
  canvas.toBlob((blob) => save(`${about.run}.png`, blob), "image/png");
}

async function showPoint(index) {
  stopPlaying();
  const code = await pointCode(index);
  const what = about.seeds_map ? `Sample of seed ${numberOf(index)}` : `What the model makes of ${nameOf(index)}`;
  show(code, await decodeOne(code), what, { at: pointPlace(index) });
}

// -------------------------------------------------------------------------------------------------------------------
// Map
// -------------------------------------------------------------------------------------------------------------------

function pickedOnMap(x, y) {
  if (tab === "walk") attempt(() => addStopAt(x, y));
  else if (tab === "calculate") {
    const index = map.nearest(...map.toScreen(x, y));
    if (index !== null) addTerm({ term: `point:${index}`, name: nameOf(index) });
  }
}

/** Fill the tip beside a point with its picture and name, as soon as the picture is there. */
function hovered(index, tip, byKeys) {
  if (byKeys) say(nameOf(index)); // to those who don't see the tip
  const caption = make("span", { textContent: nameOf(index) });
  const put = (pixels) => tip.replaceChildren(paint(make("canvas"), pixels), caption);
  if (originals.has(index)) put(originals.get(index));
  else {
    put(new Uint8ClampedArray(sizeOfImage()));
    fetchHovered(index, (pixels) => map.hovered === index && put(pixels));
  }
}

const fetchHovered = latest(async (index, done) => done(...(await originalsOf([index]))));

const showNear = latest(async (code) => {
  await showThumbs($("map-near"), [...(await backend.near(code))]);
});

/** What a small picture of a point has room for: its class, or else its number. */
function captionOf(index) {
  const row = about.colorings.findIndex(({ name }) => name === "class");
  const value = row < 0 ? -1 : labels[row * about.count + index];
  return about.colorings[row]?.names[value] ?? String(numberOf(index));
}

function fillColorings() {
  $("coloring").replaceChildren(
    ...about.colorings.map(({ name }, row) => make("option", { value: String(row), textContent: name })),
    make("option", { value: "", textContent: "nothing" }),
  );
  $("legend-row").hidden = !about.colorings.length;
  $("coloring").onchange = colour;
  colour();
}

function colour() {
  const row = $("coloring").value;
  if (row === "") {
    map.setGroups([], null);
    $("legend").replaceChildren();
    return;
  }
  const groups = labels.subarray(Number(row) * about.count, (Number(row) + 1) * about.count);
  map.setGroups(about.colorings[row].names, groups);
  drawLegend();
}

function drawLegend() {
  const sizes = map.names.map(() => 0);
  for (const group of map.groups) if (group >= 0) sizes[group]++;
  $("legend").replaceChildren(
    ...map.names.flatMap((name, group) => {
      if (!sizes[group]) return [];
      const swatch = make("canvas", { "aria-hidden": "true", className: "swatch" });
      const chip = make("button", { type: "button", className: "chip", "aria-pressed": "true" }, swatch, name);
      chip.dataset.group = String(group);
      chip.title = `${name}: ${count(sizes[group], point(), about.points_are)}`;
      chip.onclick = () => filter(group);
      return [chip];
    }),
  );
  drawSwatches();
}

function drawSwatches() {
  const ratio = globalThis.devicePixelRatio || 1;
  for (const chip of $("legend").children) {
    const swatch = chip.querySelector("canvas");
    swatch.width = swatch.height = 14 * ratio;
    const style = styleOf(Number(chip.dataset.group), map.dark);
    mark(swatch.getContext("2d"), style, 7 * ratio, 7 * ratio, 4.2 * ratio);
  }
}

/** The first choice shows one class alone; further ones add and take away; the last one that goes brings all back. */
function filter(group) {
  const all = [...$("legend").children].map((chip) => Number(chip.dataset.group));
  const hidden = new Set(map.hidden);
  if (!hidden.size) all.forEach((each) => each !== group && hidden.add(each));
  else if (!hidden.delete(group)) hidden.add(group);
  if (hidden.size === all.length) hidden.clear();
  map.setHidden(hidden);
  for (const chip of $("legend").children) {
    chip.setAttribute("aria-pressed", String(!hidden.has(Number(chip.dataset.group))));
  }
}

// -------------------------------------------------------------------------------------------------------------------
// Walk
// -------------------------------------------------------------------------------------------------------------------

const walk = { stops: [], frames: [], pictures: [], places: [], at: 0, playing: null };

/** Add a stop; `label` is what a small picture has room for. */
async function addStop(code, pixels, name, { at, label = name } = {}) {
  if (walk.stops.length >= MOST_STOPS) throw new Error(`A walk has at most ${MOST_STOPS} stops: remove one first.`);
  walk.stops.push({ code: Float32Array.from(code), pixels, name, label, at: at || (await placeOf(code)) });
  stopsChanged();
}

async function addStopAt(x, y) {
  const { code, pixels } = await backend.under(x, y);
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
  const codes = latent.split(await backend.codes(indices), about.latent_dim);
  const pictures = await decodeAll(codes);
  indices.forEach((index, k) => {
    const names = { name: nameOf(index), label: captionOf(index) };
    walk.stops.push({ code: codes[k], pixels: pictures[k], at: pointPlace(index), ...names });
  });
  stopsChanged();
}

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
  const frames = waypoints.length > 1 ? latent.path(waypoints, stepsBetween(), kind, about.prior.mean) : [];
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
  else if (tab === "walk") showFrame(0);
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

function drawWalk() {
  const at = walk.places[walk.at] || null;
  if (tab === "walk") map.setPath(walk.places, walk.stops.map((stop) => stop.at), at);
  else map.setPath([], [], null);
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
  if (walk.playing) {
    stopPlaying();
    return;
  }
  if (walk.frames.length < 2) return;
  if (walk.at >= walk.frames.length - 1) showFrame(0);
  let due = performance.now() + FRAME;
  const tick = (now) => {
    if (now >= due) {
      due = Math.max(due + FRAME, now);
      const last = walk.at >= walk.frames.length - 1;
      if (last && !$("loop").checked) {
        stopPlaying();
        return;
      }
      showFrame(last ? 0 : walk.at + 1);
    }
    walk.playing = requestAnimationFrame(tick);
  };
  walk.playing = requestAnimationFrame(tick);
  $("play").textContent = "Pause";
  $("play").setAttribute("aria-pressed", "true");
}

function stopPlaying() {
  cancelAnimationFrame(walk.playing || 0);
  walk.playing = null;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
}

/** All frames of the walk, or as many as fit, on one canvas, row by row. */
function drawStrip() {
  const canvas = $("strip");
  const { width, height } = about.image;
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
  const { width, height, channels } = about.image;
  const bytes = gif.encode({ width, height, channels, frames: walk.pictures, centiseconds: FRAME / 10 });
  save("walk.gif", new Blob([bytes], { type: "image/gif" }));
  say(`Saved walk.gif, ${count(walk.pictures.length, "frame", "frames")}.`);
}

// -------------------------------------------------------------------------------------------------------------------
// Calculate
// -------------------------------------------------------------------------------------------------------------------

/** Terms: {sign, term, name, pictures}; `term` is what a backend's `sum` takes. */
let terms = [];

const termNames = () => about.terms || { labels: classNames(), attributes: attributeNames() };
const classNames = () => (about.colorings.find(({ name }) => name === "class") || { names: [] }).names;
const attributeNames = () => about.colorings.filter(({ name }) => name !== "class").map(({ name }) => name);

function fillTermKinds() {
  const { labels: classes, attributes } = termNames();
  const kinds = [
    ["label", "class", classes.length],
    ["attributes", "attributes", attributes.length],
    ["point", about.seeds_map ? "sample on the map" : point(), true],
    ["current", "current picture", true],
    ["seed", "seed", true],
    ["file", "image file", fileRefusal() === null],
  ];
  $("term-kind").replaceChildren(
    ...kinds.filter(([, , offered]) => offered).map(([value, name]) => make("option", { value, textContent: name })),
  );
  $("term-kind").onchange = termKindChanged;
  $("term-attributes").replaceChildren(
    ...attributes.map((name) =>
      make("label", { className: "tri" }, `${name} `, make("select", { "data-attribute": name },
        make("option", { value: "", textContent: "either" }),
        make("option", { value: "with", textContent: "with" }),
        make("option", { value: "without", textContent: "without" }),
      )),
    ),
  );
  $("sum-example").hidden = exampleTerms().length === 0;
  termKindChanged();
}

function termKindChanged() {
  const kind = $("term-kind").value;
  const detail = [];
  if (kind === "label") {
    const offered = termNames().labels.map((name) => make("option", { value: name, textContent: name }));
    detail.push(make("select", { id: "term-label", "aria-label": "Class" }, ...offered));
  } else if (kind === "point" || kind === "seed") {
    const most = kind === "point" ? numberOf(about.count - 1) : (about.seeds || SEEDS) - 1;
    const under = kind === "point" && map.cursor ? map.nearest(...map.toScreen(...map.cursor)) || 0 : 0;
    const value = kind === "point" ? numberOf(under) : 0;
    const field = make("input", { id: "term-number", type: "number", "aria-label": "Number" });
    detail.push(Object.assign(field, { min: "0", max: String(most), step: "1", value: String(value) }));
  } else if (kind === "file") {
    detail.push(make("input", { id: "term-file", type: "file", accept: "image/*", "aria-label": "Image file" }));
  }
  $("term-detail").replaceChildren(...detail);
  $("term-attributes").hidden = kind !== "attributes";
}

async function addBuiltTerm() {
  const kind = $("term-kind").value;
  if (kind === "label") {
    const name = $("term-label").value;
    addTerm({ term: `label:${name}`, name });
  } else if (kind === "attributes") {
    const chosen = [...$("term-attributes").querySelectorAll("select")].filter((select) => select.value);
    if (!chosen.length) throw new Error("Choose with or without for at least one attribute.");
    addTerm(attributeTerm(chosen.map((select) => [select.dataset.attribute, select.value === "with"])));
  } else if (kind === "point") {
    const index = pointIn($("term-number"));
    addTerm({ term: `point:${index}`, name: nameOf(index) });
  } else if (kind === "seed") {
    const seed = seedIn($("term-number"));
    addTerm({ term: `seed:${seed}`, name: `seed ${seed}`, seed });
  } else if (kind === "current") {
    addTerm({ term: { code: current.code, pixels: current.pixels }, name: current.what });
  } else {
    const file = $("term-file").files[0];
    if (!file) throw new Error("Choose an image file first.");
    await addFileTerm(file);
  }
}

async function addFileTerm(file) {
  const name = file.name || "your image";
  const found = await readFile(file);
  if (!found) throw new Error(`${name} isn't in the sum: another image came before its code was found.`);
  addTerm({ term: { code: found.code, pixels: found.pixels }, name });
}

function attributeTerm(pairs) {
  return {
    term: pairs.map(([name, has]) => (has ? name : `!${name}`)).join("&"),
    name: pairs.map(([name, has]) => (has ? name : `not ${name}`)).join(", "),
  };
}

function nextSign() {
  return Number(document.querySelector("input[name=next-sign]:checked").value);
}

function addTerm(term) {
  if (terms.length >= MOST_TERMS) {
    complain(new Error(`A sum has at most ${MOST_TERMS} terms: remove one first.`));
    return;
  }
  terms.push({ sign: nextSign(), pictures: [], ...term });
  termsChanged();
}

function exampleTerms() {
  const { labels: classes, attributes } = termNames();
  const has = (...names) => names.every((name) => attributes.includes(name));
  if (has("male", "glasses")) {
    const term = (sign, male, glasses) => ({ sign, ...attributeTerm([["male", male], ["glasses", glasses]]) });
    return [term(1, true, true), term(-1, true, false), term(1, false, false)];
  }
  if (attributes.length >= 2) {
    const [a, b] = attributes;
    const term = (sign, first, second) => ({ sign, ...attributeTerm([[a, first], [b, second]]) });
    return [term(1, true, true), term(-1, true, false), term(1, false, false)];
  }
  if (classes.length < 3) return [];
  const chosen = ["7", "1", "4"].every((name) => classes.includes(name)) ? ["7", "1", "4"] : classes;
  return [1, -1, 1].map((sign, k) => ({ sign, term: `label:${chosen[k]}`, name: chosen[k] }));
}

function termsChanged() {
  drawTerms();
  calculate();
}

function drawTerms() {
  $("terms").replaceChildren(
    ...terms.map((each, k) => {
      const sign = make("button", { type: "button", className: "sign", textContent: each.sign > 0 ? "+" : "−" });
      sign.setAttribute("aria-label", `${each.sign > 0 ? "plus" : "minus"} ${each.name}; change the sign`);
      sign.onclick = () => {
        each.sign = -each.sign;
        termsChanged();
        $("terms").children[k].querySelector(".sign").focus();
      };
      const pictures = make("span", { className: "exemplars" }, ...each.pictures.map(small));
      const name = make("span", { className: "name", textContent: each.name });
      const remove = removeButton(each.name, () => {
        terms.splice(k, 1);
        termsChanged();
        $("term-add").focus();
      });
      return make("div", { role: "listitem", className: "term" }, sign, pictures, name, remove);
    }),
  );
  $("terms").classList.toggle("empty", !terms.length);
}

const calculate = latest(async () => {
  const asked = [...terms];
  if (!asked.length) {
    $("sum-result").hidden = true;
    leave("sum");
    return;
  }
  const wanted = asked.map(({ sign, term }) => ({ sign, term }));
  const result = await backend.sum(wanted);
  if (calculate.overtaken()) return;
  for (const [k, each] of asked.entries()) {
    const indices = (result.terms[k] || { images: [] }).images;
    if (indices.length) each.pictures = await originalsOf(indices);
    else if (typeof each.term !== "string") each.pictures = [each.term.pixels];
    else if (each.seed !== undefined) each.pictures = [await decodeOne(await seedCode(each.seed))];
  }
  await showThumbs($("sum-near"), [...result.near]);
  if (calculate.overtaken()) return;
  drawTerms();
  paint($("sum-picture"), result.pixels);
  paint($("sum-control"), result.control);
  $("sum-result").hidden = false;
  const names = asked.map(({ sign, name }, k) => (sign > 0 ? (k ? "+ " : "") : "− ") + name);
  if (tab === "calculate") show(result.code, result.pixels, names.join(" "), { of: "sum" });
});

// -------------------------------------------------------------------------------------------------------------------
// Sliders
// -------------------------------------------------------------------------------------------------------------------

let slidersShown = FIRST_SLIDERS;

function buildSliders() {
  const dims = about.active.slice(0, slidersShown);
  $("sliders").replaceChildren(
    ...dims.map((dim) => {
      const [mean, spread] = [about.prior.mean[dim], about.prior.spread[dim]];
      const input = make("input", { type: "range", min: "-1", max: "1", step: "any", id: `slider-${dim}` });
      Object.assign(input, { min: String(mean - REACH * spread), max: String(mean + REACH * spread) });
      input.dataset.dim = String(dim);
      input.oninput = () => slid(dim, Number(input.value));
      input.onchange = () => settled();
      return make("div", { className: "slider" },
        make("label", { htmlFor: input.id, textContent: `z${subscript(dim)}` }),
        make("div", { className: "track" }, make("canvas", { "aria-hidden": "true" }), input),
        make("output", { htmlFor: input.id }),
      );
    }),
  );
  const more = about.active.length - slidersShown;
  $("more-sliders").hidden = more <= 0;
  $("more-sliders").textContent = `Show ${Math.min(more, 4 * FIRST_SLIDERS)} more of ${about.latent_dim}`;
}

const subscript = (number) => String(number).replace(/\d/g, (digit) => String.fromCharCode(0x2080 + Number(digit)));

function slid(dim, value) {
  stopPlaying();
  const code = Float32Array.from(current.code);
  code[dim] = value;
  current.code = code; // so that the next movement starts from here, before the picture is there
  setSliders();
  showCode(code, "Set by the sliders", { passing: true });
}

function setSliders() {
  for (const input of $("sliders").querySelectorAll("input")) {
    const value = current.code[input.dataset.dim];
    if (input !== document.activeElement || Math.abs(Number(input.value) - value) > 1e-6) input.value = String(value);
    input.closest(".slider").querySelector("output").textContent = short(value);
    input.setAttribute("aria-valuetext", short(value));
  }
}

/** The sliders at the current code, and what each of them would do to it. */
const drawSliders = latest(async () => {
  if (tab !== "sliders") return;
  setSliders();
  const code = current.code;
  const rows = [...$("sliders").children];
  const dims = rows.map((row) => Number(row.querySelector("input").dataset.dim));
  const codes = dims.flatMap((dim) => latent.sweep(code, dim, REACH, STRIP, about.prior));
  const pictures = await decodeAll(codes);
  const { width, height } = about.image;
  rows.forEach((row, at) => {
    const canvas = Object.assign(row.querySelector("canvas"), { width: STRIP * width, height });
    for (let k = 0; k < STRIP; k++) {
      canvas.getContext("2d").putImageData(imageOf(pictures[at * STRIP + k]), k * width, 0);
    }
  });
});

function showSeed() {
  const seed = seedIn($("seed"));
  return attempt(async () => {
    stopPlaying();
    showCode(await seedCode(seed), `Seed ${seed}`);
  });
}

function randomCode() {
  $("seed").value = String(Math.floor(Math.random() * Math.min(about.seeds || SEEDS, 1_000_000)));
  return showSeed();
}

// -------------------------------------------------------------------------------------------------------------------
// Reconstruct
// -------------------------------------------------------------------------------------------------------------------

/** Why no image of one's own can be shown here; null where it can. */
const fileRefusal = () => (about.missing && about.missing.file) || null;

let reads = 0;

/** The code, pixels and place of an image file; null where another has been given since, which takes its place. */
async function readFile(file) {
  const refusal = fileRefusal();
  if (refusal) throw new Error(refusal);
  const read = ++reads;
  const late = () => read !== reads;
  const bar = $("file-progress");
  bar.hidden = about.encoder === true;
  try {
    const found = await backend.file(file, (done, of) => {
      if (late()) return;
      $("file-bar").value = done / of;
      $("file-steps").textContent = `${done} / ${of}`;
    });
    return late() ? null : found;
  } catch (error) {
    if (late()) return null; // the server has given its search up
    throw error;
  } finally {
    if (!late()) bar.hidden = true;
  }
}

async function reconstructFile(file) {
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
  map.setMarks([{ x: place[0], y: place[1], name: "yours" }]);
}

async function reconstructPoint() {
  const [index] = randomIndices(1);
  const [[pixels], code] = [await originalsOf([index]), await pointCode(index)];
  await reconstructed(pixels, code, pointPlace(index), nameOf(index));
  map.setMarks([]);
}

async function reconstructed(pixels, code, place, name) {
  const decoded = await decodeOne(code);
  paint($("original"), pixels);
  paint($("reconstructed"), decoded);
  const error = decoded.reduce((sum, value, k) => sum + ((value - pixels[k]) / 255) ** 2, 0);
  $("original-caption").textContent = name;
  $("reconstruction-error").textContent = `squared error ${error.toPrecision(3)}, summed over the image`;
  $("reconstruction").hidden = false;
  show(code, decoded, `Reconstruction of ${name}`, { at: place });
}

function fillReconstruct() {
  const [refusal, encoder] = [fileRefusal(), about.encoder];
  let note = "The model encodes an image and decodes its code again.";
  if (refusal) note = refusal;
  else if (encoder !== true) note = `${encoder}, which takes a while.`;
  $("encoder-note").textContent = note;
  $("file").disabled = refusal !== null;
  $("drop").classList.toggle("refused", refusal !== null);
  $("random-original").hidden = about.seeds_map;
}

function takeFiles(files) {
  const file = [...(files || [])].find((each) => each.type.startsWith("image/")) || (files || [])[0];
  if (!file) return;
  attempt(() => (tab === "calculate" ? addFileTerm(file) : reconstructFile(file)));
}

// -------------------------------------------------------------------------------------------------------------------
// Tabs, and what is wired to what
// -------------------------------------------------------------------------------------------------------------------

function choose(name, focus = false) {
  if (tab === "walk" && name !== "walk") stopPlaying();
  tab = name;
  for (const button of $("tabs").children) {
    const chosen = button.id === `tab-${name}`;
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
    $(button.getAttribute("aria-controls")).hidden = !chosen;
    if (chosen && focus) button.focus();
  }
  document.body.dataset.tab = name;
  if (!current.code) return;
  drawWalk();
  if (name === "calculate") termKindChanged();
  settled();
}

function turnTab(event) {
  const buttons = [...$("tabs").children];
  const at = buttons.findIndex((button) => button.getAttribute("aria-selected") === "true");
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  choose(buttons[(to + buttons.length) % buttons.length].id.slice(4), true);
}

function wire() {
  const click = (id, work) => ($(id).onclick = () => attempt(async () => work()));
  for (const button of $("tabs").children) button.onclick = () => choose(button.id.slice(4));
  $("tabs").addEventListener("keydown", turnTab);
  // What the line says stays until a person does the next thing, whatever else succeeds meanwhile.
  for (const kind of ["pointerdown", "keydown", "drop", "paste"]) addEventListener(kind, () => say(""), true);

  click("zoom-in", () => map.zoom(1.5));
  click("zoom-out", () => map.zoom(1 / 1.5));
  click("zoom-all", () => map.fit());
  click("pan", () => {
    map.setPanning(!map.panning);
    $("pan").setAttribute("aria-pressed", String(map.panning));
  });
  map.scheme.addEventListener("change", drawSwatches);

  $("code").onchange = typedCode;
  click("copy-code", () => copy(latent.write(current.code), "the code"));
  click("save-picture", savePicture);

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

  click("term-add", addBuiltTerm);
  click("terms-clear", () => {
    terms = [];
    termsChanged();
  });
  click("sum-example", () => {
    terms = exampleTerms().map((each) => ({ pictures: [], ...each }));
    termsChanged();
  });

  click("to-mean", () => {
    stopPlaying();
    showCode(Float32Array.from(about.prior.mean), "The prior’s mean");
  });
  click("random-code", randomCode);
  click("show-seed", showSeed);
  click("copy-seed", () => copy(String(seedIn($("seed"))), "the seed"));
  click("more-sliders", () => {
    slidersShown += 4 * FIRST_SLIDERS;
    buildSliders();
    drawSliders();
  });

  $("file").onchange = () => {
    takeFiles($("file").files);
    $("file").value = "";
  };
  click("random-original", reconstructPoint);
  const over = (event, on) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", on);
  };
  addEventListener("dragover", (event) => over(event, true));
  addEventListener("dragleave", (event) => event.relatedTarget === null && over(event, false));
  addEventListener("drop", (event) => {
    over(event, false);
    takeFiles(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => event.clipboardData && takeFiles(event.clipboardData.files));
}

function introduce() {
  const { model, dataset, count: number, latent_dim: dims, points_are: kind } = about;
  const seen = about.near_by_images ? "By what the discriminator sees in their images." : "By distance between codes.";
  $("map-near-help").textContent = `${seen} Choose one to see what the model makes of its own code.`;
  document.title = `${about.run} · genkit explore`;
  $("run").textContent = about.run;
  const parts = [model, dataset, count(number, point(), kind), `${dims}-D codes`];
  $("facts").textContent = parts.join(" · ");
  for (const each of document.querySelectorAll(".points-are")) each.textContent = kind;
  if (about.seeds_map) $("stop-kind").lastElementChild.remove(); // there, samples are seeds
  for (const each of document.querySelectorAll(".point-is")) each.textContent = point();
  const methods = { native: "The codes themselves. ", pca: "PCA of the codes. ", tsne: "t-SNE of the codes. " };
  const method = about.seeds_map && about.map.method !== "native" ? "" : methods[about.map.method];
  $("map-note").textContent = `${method}Under the cursor: ${about.map.note}.`;
  $("map").setAttribute("aria-label", `Map of ${count(number, point(), kind)}`);
  $("approximate").textContent = about.approximate || "";
  $("approximate").hidden = !about.approximate;
  $("source").textContent = about.source || "";
  const refusal = about.missing && about.missing.decode;
  if (refusal) {
    for (const name of ["walk", "calculate", "sliders"]) {
      $(`panel-${name}`).prepend(make("p", { className: "banner", textContent: refusal }));
    }
  }
  const { width, height } = about.image;
  document.documentElement.style.setProperty("--shape", `${width} / ${height}`);
  document.documentElement.style.setProperty("--wide", String(Math.min(1, width / height)));
}

async function start() {
  choose("map");
  backend = openBackend();
  say("Loading the map…");
  about = await backend.about();
  introduce();
  [points, labels] = await Promise.all([backend.points(), backend.labels()]);
  map = new LatentMap($("map"), { move: moved, pick: pickedOnMap, hover: hovered });
  map.axes = about.map.axes;
  map.setPoints(points);
  fillColorings();
  fillTermKinds();
  fillReconstruct();
  buildSliders();
  // Two numbers don't lie on a shell: the great circle's point is lost, and its way would leave the map.
  if (about.latent_dim <= 2) document.querySelector("input[value=lerp]").checked = true;
  readyToPlay();
  $("stops").classList.add("empty");
  drawTerms();
  wire();
  // Begin in the middle of the map, where there is something to see.
  const [x, y] = [map.view.x, map.view.y];
  map.setCursor(x, y);
  await decodeUnder(x, y);
  if (!$("status").classList.contains("error")) say("");
  document.body.dataset.ready = "true";
}

function moved(x, y) {
  stopPlaying();
  decodeUnder(x, y);
}

start().catch(complain);
