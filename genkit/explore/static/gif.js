// A small GIF encoder: grey animations keep all 256 levels, colour ones get up to 256 colours a frame.

/** Pixels are repeated until the longer side is at least this, as in the animations of `genkit sample`. */
const SIDE = 256;
const BITS = 8;
const MOST_CODES = 4096;

/**
 * An animation that loops for ever, as the bytes of a file.
 *
 * `frames` are arrays of height · width · channels bytes each, with 1 or 3 channels, that are seen for `centiseconds`
 * each; viewers slow down whatever is faster than 2.
 */
export function encode({ width, height, channels, frames, centiseconds = 8 }) {
  const factor = Math.max(1, Math.ceil(SIDE / Math.max(width, height)));
  const [wide, high] = [width * factor, height * factor];
  const out = new Bytes();
  out.text("GIF89a");
  out.short(wide);
  out.short(high);
  out.byte(channels === 1 ? 0xf7 : 0x70); // a table of 256 colours for all frames, or none
  out.byte(0);
  out.byte(0);
  if (channels === 1) for (let grey = 0; grey < 256; grey++) out.all([grey, grey, grey]);
  out.all([0x21, 0xff, 11]);
  out.text("NETSCAPE2.0");
  out.all([3, 1, 0, 0, 0]);
  for (const pixels of frames) {
    out.all([0x21, 0xf9, 4, 0x04]);
    out.short(centiseconds);
    out.all([0, 0]);
    out.byte(0x2c);
    for (const each of [0, 0, wide, high]) out.short(each);
    const { indices, table } = channels === 1 ? { indices: pixels, table: null } : quantise(pixels);
    out.byte(table ? 0x87 : 0);
    if (table) out.all(table);
    compress(enlarge(indices, width, height, factor), out);
  }
  out.byte(0x3b);
  return out.finish();
}

function enlarge(indices, width, height, factor) {
  const large = new Uint8Array(width * height * factor * factor);
  for (let row = 0, at = 0; row < height * factor; row++) {
    const start = Math.floor(row / factor) * width;
    for (let column = 0; column < width; column++) {
      large.fill(indices[start + column], at, (at += factor));
    }
  }
  return large;
}

/** Lempel-Ziv-Welch with codes of growing width, as GIF89a has it, in blocks of at most 255 bytes. */
function compress(indices, out) {
  const clear = 1 << BITS;
  const end = clear + 1;
  // The code of a known sequence and one more byte; 0, which is never the code of a longer sequence, where unknown.
  const known = new Uint16Array(MOST_CODES << BITS);
  let free = end + 1;
  let size = BITS + 1;
  let bits = 0;
  let held = 0;
  let block = [];
  const put = (code) => {
    bits |= code << held;
    for (held += size; held >= 8; held -= 8, bits >>>= 8) {
      block.push(bits & 255);
      if (block.length === 255) flush();
    }
  };
  const flush = () => {
    if (block.length) out.byte(block.length);
    out.all(block);
    block = [];
  };

  out.byte(BITS);
  put(clear);
  let sequence = indices[0];
  for (let k = 1; k < indices.length; k++) {
    const longer = (sequence << BITS) | indices[k];
    if (known[longer]) {
      sequence = known[longer];
      continue;
    }
    put(sequence);
    if (free < MOST_CODES) {
      // The reader knows a code one step later than the writer: the width grows when the new code needs it.
      if (free === 1 << size) size++;
      known[longer] = free++;
    } else {
      put(clear);
      known.fill(0);
      free = end + 1;
      size = BITS + 1;
    }
    sequence = indices[k];
  }
  put(sequence);
  if (free === 1 << size && size < 12) size++;
  put(end);
  if (held > 0) block.push(bits & 255);
  flush();
  out.byte(0);
}

/** The colours of a picture: itself where it has at most 256, else by median cut. */
function quantise(pixels) {
  const count = pixels.length / 3;
  const indices = new Uint8Array(count);
  const table = new Uint8Array(3 * 256);
  const exact = new Map();
  for (let k = 0; k < count && exact.size <= 256; k++) {
    const colour = (pixels[3 * k] << 16) | (pixels[3 * k + 1] << 8) | pixels[3 * k + 2];
    if (!exact.has(colour)) exact.set(colour, exact.size);
    indices[k] = exact.get(colour);
  }
  if (exact.size <= 256) {
    for (const [colour, index] of exact) table.set([colour >> 16, (colour >> 8) & 255, colour & 255], 3 * index);
    return { indices, table };
  }
  let boxes = [box(pixels, Uint32Array.from({ length: count }, (_, k) => k))];
  while (boxes.length < 256) {
    const widest = boxes.reduce((best, each) => (each.weight > best.weight ? each : best));
    if (widest.weight === 0) break;
    const order = widest.members.sort((a, b) => pixels[3 * a + widest.channel] - pixels[3 * b + widest.channel]);
    const middle = order.length >> 1;
    boxes = boxes.filter((each) => each !== widest);
    boxes.push(box(pixels, order.slice(0, middle)), box(pixels, order.slice(middle)));
  }
  boxes.forEach(({ members }, index) => {
    const sums = [0, 0, 0];
    for (const k of members) {
      indices[k] = index;
      for (let channel = 0; channel < 3; channel++) sums[channel] += pixels[3 * k + channel];
    }
    table.set(sums.map((sum) => Math.round(sum / members.length)), 3 * index);
  });
  return { indices, table };
}

/** Some pixels of a picture, the channel in which they differ most, and how much cutting them in two would help. */
function box(pixels, members) {
  let [channel, range] = [0, -1];
  for (let each = 0; each < 3; each++) {
    let [low, high] = [255, 0];
    for (const k of members) {
      low = Math.min(low, pixels[3 * k + each]);
      high = Math.max(high, pixels[3 * k + each]);
    }
    if (high - low > range) [channel, range] = [each, high - low];
  }
  return { members, channel, weight: members.length > 1 ? range * range * members.length : 0 };
}

class Bytes {
  constructor() {
    this.content = new Uint8Array(1 << 16);
    this.length = 0;
  }
  all(bytes) {
    if (this.length + bytes.length > this.content.length) {
      const larger = new Uint8Array(2 * (this.length + bytes.length));
      larger.set(this.content.subarray(0, this.length));
      this.content = larger;
    }
    this.content.set(bytes, this.length);
    this.length += bytes.length;
  }
  byte(value) {
    this.all([value]);
  }
  short(value) {
    this.all([value & 255, value >> 8]);
  }
  text(text) {
    this.all(Array.from(text, (letter) => letter.charCodeAt(0)));
  }
  finish() {
    return this.content.slice(0, this.length);
  }
}
