// The backend of a page that was exported: everything it answers is in the file itself, put there by
// genkit/explore/stored.py. Maps and sums are those of genkit/explore/chart.py and space.py, over the points in the file.

import { fromHalves, fromPixels, runner, toPixels } from "./decoder.js";
import { join } from "./latent.js";

// Points from which the code of a place between them is averaged, and points that are near.
const NEIGHBOURS = 8;
// The longest that the page stands still while many pictures are decoded, in milliseconds.
const PATIENCE = 16;
// A photograph of more pixels than this isn't read.
const MOST_PIXELS = 64e6;

function bytes(base64) {
  const text = atob(base64);
  const found = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) found[place] = text.charCodeAt(place);
  return found.buffer;
}

// Numbers as program.py's `packed` writes them, in half or single precision; of machines whose first byte is the lowest,
// as all are that have browsers.
function floats({ half, numbers }) {
  const buffer = bytes(numbers);
  return half ? fromHalves(new Uint16Array(buffer)) : new Float32Array(buffer);
}

function program(packed) {
  return runner({ ...packed, weights: floats(packed.weights), biases: floats(packed.biases) });
}

function canvas(width, height) {
  const element = document.createElement("canvas");
  element.width = width;
  element.height = height;
  return element.getContext("2d", { willReadFrequently: true });
}

// The first `channels` of RGBA.
function without(rgba, channels) {
  const pixels = new Uint8ClampedArray((rgba.length / 4) * channels);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    for (let channel = 0; channel < channels; channel++) pixels[to++] = rgba[from + channel];
  }
  return pixels;
}

// Many pictures in one: a function from the number of one to its pixels, at the size of `image`.
function sprite(packed, image) {
  let sheet = null;
  const tile = canvas(image.width, image.height);
  return async (index) => {
    if (sheet === null) {
      const found = new Image();
      found.src = packed.picture;
      sheet = found.decode().then(() => found);
    }
    const x = (index % packed.columns) * packed.pitch[0];
    const y = Math.floor(index / packed.columns) * packed.pitch[1];
    const [width, height] = packed.size;
    tile.drawImage(await sheet, x, y, width, height, 0, 0, image.width, image.height);
    return without(tile.getImageData(0, 0, image.width, image.height).data, image.channels);
  };
}

// The numbers of the `count` nearest rows of `width` numbers to a query, the nearest first, and their distances.
function nearest(query, rows, width, count) {
  const squares = [];
  const found = [];
  const total = rows.length / width;
  for (let row = 0; row < total; row++) {
    let square = 0;
    for (let k = 0, place = row * width; k < width; k++, place++) square += (rows[place] - query[k]) ** 2;
    if (found.length === count && square >= squares[count - 1]) continue;
    let rank = Math.min(found.length, count - 1);
    for (; rank > 0 && squares[rank - 1] > square; rank--) {
      squares[rank] = squares[rank - 1];
      found[rank] = found[rank - 1];
    }
    squares[rank] = square;
    found[rank] = row;
  }
  return { found, distances: squares.map(Math.sqrt) };
}

// The nearest rows, and their weights by 1/distance, which sum to 1; rows that the query lies on have it for themselves.
function weighted(query, rows, width) {
  const { found, distances } = nearest(query, rows, width, NEIGHBOURS);
  const on = distances.includes(0);
  const weights = distances.map((distance) => (on ? Number(distance === 0) : 1 / distance));
  const sum = weights.reduce((a, b) => a + b, 0);
  return { found, weights: weights.map((weight) => weight / sum) };
}

// A map that is a plane through the space of codes: mean + x · axis 1 + y · axis 2.
function flatMap(packed, dims) {
  const mean = floats(packed.mean);
  const axes = floats(packed.axes);
  return {
    codeAt: (x, y) => Float32Array.from(mean, (value, k) => value + x * axes[2 * k] + y * axes[2 * k + 1]),
    place: (code) => {
      let x = 0;
      let y = 0;
      for (let k = 0; k < dims; k++) {
        x += (code[k] - mean[k]) * axes[2 * k];
        y += (code[k] - mean[k]) * axes[2 * k + 1];
      }
      return [x, y];
    },
  };
}

// A map without a way back: averages over the nearest points. Where there is a centre, an averaged code is brought back
// to the length, from there, that its neighbours have.
function scatteredMap(packed, dims, points, codes, traits, traitsOf) {
  const centre = packed.centre && floats(packed.centre);
  const row = (k) => codes.subarray(k * dims, (k + 1) * dims);
  return {
    codeAt: (x, y) => {
      const { found, weights } = weighted([x, y], points, 2);
      const code = new Float64Array(dims);
      found.forEach((point, rank) => row(point).forEach((value, k) => (code[k] += weights[rank] * value)));
      if (!centre) return Float32Array.from(code);
      const length = (other) => Math.hypot(...Array.from(other, (value, k) => value - centre[k]));
      const wanted = found.reduce((sum, point, rank) => sum + weights[rank] * length(row(point)), 0);
      const factor = wanted / Math.max(length(code), 1e-12);
      return Float32Array.from(code, (value, k) => centre[k] + factor * (value - centre[k]));
    },
    place: (code) => {
      const trait = traitsOf(code);
      if (packed.flat) return [trait[0], trait[1]];
      const { found, weights } = weighted(trait, traits, trait.length);
      return [0, 1].map((axis) => found.reduce((sum, k, rank) => sum + weights[rank] * points[2 * k + axis], 0));
    },
  };
}

// A file's picture at a model's size, as genkit/data/pixels.py brings it there: on white, grey by luma, the largest
// centred cut of the wanted proportions, bicubic with a filter as wide as it shrinks.
async function readPicture(blob, image) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error("This file can't be read as an image; give another one.");
  }
  const [wide, high] = [bitmap.width, bitmap.height];
  // Closed at once: a photograph takes hundreds of megabytes, and the browser may keep it for long.
  if (wide * high > MOST_PIXELS) {
    bitmap.close();
    throw new Error("This image is too large for a page; make it smaller.");
  }
  const context = canvas(wide, high);
  context.fillStyle = "#fff";
  context.fillRect(0, 0, wide, high);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, wide, high).data;
  let pixels = without(rgba, image.channels);
  if (image.channels === 1) {
    for (let k = 0; k < pixels.length; k++) {
      pixels[k] = (19595 * rgba[4 * k] + 38470 * rgba[4 * k + 1] + 7471 * rgba[4 * k + 2] + 32768) >> 16;
    }
  }
  if (wide === image.width && high === image.height) return pixels;
  const width = Math.min(wide, toEven((high * image.width) / image.height));
  const height = Math.min(high, toEven((wide * image.height) / image.width));
  const left = Math.floor((wide - width) / 2);
  const top = Math.floor((high - height) / 2);
  const channels = image.channels;
  // Across, then down; between them as bytes.
  pixels = resized(pixels, high, wide, channels, left, width, image.width);
  return resized(pixels, 1, high, image.width * channels, top, height, image.height);
}

// The nearest whole number, as Python rounds: of two the even one.
function toEven(x) {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}

function bicubic(x) {
  const size = Math.abs(x);
  if (size < 1) return (1.5 * size - 2.5) * size * size + 1;
  return size < 2 ? ((-0.5 * size + 2.5) * size - 4) * size + 2 : 0;
}

// `outer` rows of `length` cells of `inner` bytes, of whose cells `start` to `start + cut` become `wanted` cells.
function resized(pixels, outer, length, inner, start, cut, wanted) {
  const result = new Uint8ClampedArray(outer * wanted * inner);
  const scale = cut / wanted;
  const filter = Math.max(1, scale);
  for (let cell = 0; cell < wanted; cell++) {
    const centre = start + (cell + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - 2 * filter + 0.5));
    const last = Math.min(length, Math.floor(centre + 2 * filter + 0.5));
    const weights = [];
    for (let k = first; k < last; k++) weights.push(bicubic((k - centre + 0.5) / filter));
    const sum = weights.reduce((a, b) => a + b, 0);
    for (let row = 0; row < outer; row++) {
      for (let place = 0; place < inner; place++) {
        let value = 0;
        weights.forEach((weight, k) => (value += weight * pixels[(row * length + first + k) * inner + place]));
        result[(row * wanted + cell) * inner + place] = Math.floor(value / sum + 0.5);
      }
    }
  }
  return result;
}

/** The methods of a backend, answered from what genkit/explore/stored.py has put into the page. */
function storedBackend(data) {
  const { about } = data;
  const image = about.image;
  const dims = about.latent_dim;
  const size = image.channels * image.height * image.width;
  const points = floats(data.points);
  const codes = floats(data.codes);
  const seedCodes = floats(data.seeds);
  const labels = new Int16Array(bytes(data.labels));
  const draws = new Uint16Array(bytes(data.draws));
  const decoder = data.decoder && program(data.decoder);
  const encoder = data.encoder && program(data.encoder);
  const traitProgram = data.trait_program && program(data.trait_program);
  const traits = data.traits ? floats(data.traits) : codes;
  const original = data.originals && sprite(data.originals, image);
  const corner = data.lattice && sprite(data.lattice, image);

  const traitsOf = (code) => (traitProgram ? traitProgram(decoder(code)) : code);
  const chart = data.map.mean
    ? flatMap(data.map, dims)
    : scatteredMap(data.map, dims, points, codes, traits, traitsOf);
  const codeOf = (point) => codes.slice(point * dims, (point + 1) * dims);

  // The picture of a place, between the four places round it that were decoded when the file was written.
  async function between(x, y) {
    const { side, low, high } = data.lattice;
    const along = (value, axis) =>
      (side - 1) * Math.min(1, Math.max(0, (value - low[axis]) / (high[axis] - low[axis])));
    const [across, up] = [along(x, 0), along(y, 1)];
    const column = Math.min(Math.floor(across), side - 2);
    const row = Math.min(Math.floor(up), side - 2);
    const corners = [];
    for (const k of [0, 1, side, side + 1]) corners.push(await corner(row * side + column + k));
    const s = across - column;
    const t = up - row;
    const [a, b, c, d] = corners;
    return a.map((value, k) => (1 - t) * ((1 - s) * value + s * b[k]) + t * ((1 - s) * c[k] + s * d[k]));
  }

  async function pictureOf(code) {
    if (decoder) return toPixels(decoder(code), image.channels);
    if (about.missing.decode) throw new Error(about.missing.decode);
    return between(...chart.place(code));
  }

  // Do one thing with each of many, one after another; the page stays alive meanwhile.
  async function each(many, one) {
    let since = performance.now();
    for (let k = 0; k < many.length; k++) {
      await one(many[k], k);
      if (performance.now() - since > PATIENCE && k + 1 < many.length) {
        await new Promise((resume) => setTimeout(resume));
        since = performance.now();
      }
    }
  }

  async function pictures(many, one) {
    const pixels = new Uint8ClampedArray(many.length * size);
    await each(many, async (value, k) => pixels.set(await one(value), k * size));
    return pixels;
  }

  // On a map of seeds, a place takes a picture and what is seen in it.
  async function places(many) {
    const found = new Float32Array(2 * many.length);
    await each(many, (code, k) => found.set(chart.place(code), 2 * k));
    return found;
  }

  const originals = (indices) =>
    pictures(Array.from(indices), original || ((point) => pictureOf(codeOf(point))));

  function seed(number) {
    if (!(number < about.seeds)) throw new Error(`This file holds the codes of seeds 0 to ${about.seeds - 1} only.`);
    return seedCodes.slice(number * dims, (number + 1) * dims);
  }

  // The points that a class or attributes describe: `label:7`, `glasses&!male`.
  function described(text) {
    let wanted;
    const row = (name) => about.colorings.findIndex((each) => each.name === name);
    if (text.startsWith("label:")) {
      const classes = row("class");
      wanted = [[classes, classes < 0 ? -1 : about.colorings[classes].names.indexOf(text.slice(6))]];
    } else {
      wanted = text.split("&").map((part) => {
        const name = part.trim();
        return name.startsWith("!") ? [row(name.slice(1).trim()), 0] : [row(name), 1];
      });
    }
    const found = [];
    for (let point = 0; point < about.count; point++) {
      if (wanted.every(([k, value]) => k >= 0 && value >= 0 && labels[k * about.count + point] === value)) found.push(point);
    }
    if (!found.length) throw new Error(`No image in this file is '${text}'.`);
    return found;
  }

  // A term's code, its pixels as numbers, and the points that it stands for.
  async function meant(term) {
    if (typeof term !== "string") {
      return { code: term.code, pixels: term.pixels || (await pictureOf(term.code)), images: [] };
    }
    const number = Number(term.slice(term.indexOf(":") + 1));
    if (term.startsWith("seed:")) {
      const code = seed(number);
      return { code, pixels: await pictureOf(code), images: [] };
    }
    let images = [number];
    if (!term.startsWith("point:")) {
      const all = described(term);
      // The first three of torch's random order of so many, seed 0: what `genkit sample --arithmetic` takes.
      const first = 3 * (all.length - 1);
      images = Array.from(draws.subarray(first, first + Math.min(3, all.length)), (k) => all[k]);
    }
    const pixels = await originals(images);
    const mean = (values, length) =>
      Float64Array.from({ length }, (_, k) => images.reduce((sum, _, n) => sum + values[n * length + k], 0) / images.length);
    return { code: mean(images.flatMap((k) => Array.from(codeOf(k))), dims), pixels: mean(pixels, size), images };
  }

  async function sum(terms) {
    if (about.missing.decode) throw new Error(about.missing.decode);
    const code = new Float64Array(dims);
    const control = new Float64Array(size);
    const found = [];
    for (const { sign, term } of terms) {
      const one = await meant(term);
      one.code.forEach((value, k) => (code[k] += sign * value));
      one.pixels.forEach((value, k) => (control[k] += sign * value));
      found.push({ images: one.images });
    }
    const single = Float32Array.from(code);
    return {
      code: single,
      pixels: await pictureOf(single),
      control: Uint8ClampedArray.from(control),
      near: near(single),
      terms: found,
    };
  }

  const near = (code) => {
    const trait = traitsOf(code);
    return Int32Array.from(nearest(trait, traits, trait.length, NEIGHBOURS).found);
  };

  function split(joined) {
    return Array.from({ length: joined.length / dims }, (_, k) => joined.subarray(k * dims, (k + 1) * dims));
  }

  return {
    about: async () => about,
    points: async () => points.slice(),
    labels: async () => labels.slice(),
    decode: async (joined) => pictures(split(joined), pictureOf),
    under: async (x, y) => {
      const code = chart.codeAt(x, y);
      return { code, pixels: decoder ? await pictureOf(code) : await between(x, y) };
    },
    place: async (joined) => places(split(joined)),
    originals: async (indices) => originals(indices),
    codes: async (indices) => join(Array.from(indices, codeOf)),
    seeds: async (numbers) => join(Array.from(numbers, seed)),
    near: async (code) => near(code),
    sum,
    file: async (blob) => {
      if (about.missing.file) throw new Error(about.missing.file);
      const pixels = await readPicture(blob, image);
      const code = encoder(fromPixels(pixels, image.channels)).slice();
      if (!code.every(Number.isFinite)) throw new Error("This image has no finite code; give another image.");
      return { pixels, code, place: chart.place(code) };
    },
  };
}

/** What live.js's function of this name is on the live page. */
export function openBackend() {
  return storedBackend(JSON.parse(document.getElementById("stored-data").textContent));
}
