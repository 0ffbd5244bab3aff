// Walking in a latent space: the pure functions of genkit/latent/sampling.py, on codes that are Float32Arrays of D numbers.

/** The straight line from a at t = 0 to b at t = 1. */
function lerp(a, b, t) {
  return Float32Array.from(a, (value, k) => value + t * (b[k] - value));
}

/**
 * The great circle about `centre` (the origin where there is none) from a at t = 0 to b at t = 1: direction and
 * length change evenly. Where it isn't defined (parallel or opposite vectors, or a zero), it is the straight line.
 */
function slerp(a, b, t, centre) {
  let dot = 0;
  let squareA = 0;
  let squareB = 0;
  for (let k = 0; k < a.length; k++) {
    const offset = centre ? centre[k] : 0;
    dot += (a[k] - offset) * (b[k] - offset);
    squareA += (a[k] - offset) ** 2;
    squareB += (b[k] - offset) ** 2;
  }
  if (squareA === 0 || squareB === 0) return lerp(a, b, t);
  const [lengthA, lengthB] = [Math.sqrt(squareA), Math.sqrt(squareB)];
  const angle = Math.acos(Math.min(1, Math.max(-1, dot / (lengthA * lengthB))));
  const sine = Math.sin(angle);
  if (sine < 1e-4) return lerp(a, b, t);
  const length = lengthA + t * (lengthB - lengthA);
  const fromA = (length / lengthA) * (Math.sin((1 - t) * angle) / sine);
  const fromB = (length / lengthB) * (Math.sin(t * angle) / sine);
  return Float32Array.from(a, (value, k) => {
    const offset = centre ? centre[k] : 0;
    return fromA * (value - offset) + fromB * (b[k] - offset) + offset;
  });
}

/**
 * The way through all waypoints: `steps` codes a segment (at least 2, both ends included), each waypoint once.
 * `kind` is "slerp" or "lerp".
 */
export function path(waypoints, steps, kind, centre) {
  const frames = waypoints.length ? [Float32Array.from(waypoints[0])] : [];
  for (let segment = 1; segment < waypoints.length; segment++) {
    const [a, b] = [waypoints[segment - 1], waypoints[segment]];
    for (let step = 1; step < steps; step++) {
      const t = step / (steps - 1);
      frames.push(kind === "lerp" ? lerp(a, b, t) : slerp(a, b, t, centre));
    }
  }
  return frames;
}

/** `steps` copies of a code, of which number `dim` goes over ±`reach` standard deviations about the prior's mean. */
export function sweep(code, dim, reach, steps, prior) {
  return Array.from({ length: steps }, (_, step) => {
    const copy = Float32Array.from(code);
    const share = steps === 1 ? 0 : (2 * step) / (steps - 1) - 1;
    copy[dim] = prior.mean[dim] + share * reach * prior.spread[dim];
    return copy;
  });
}

/** Codes one after another in one array, as a backend takes them. */
export function join(codes) {
  const joined = new Float32Array(codes.length ? codes.length * codes[0].length : 0);
  codes.forEach((code, k) => joined.set(code, k * code.length));
  return joined;
}

/** One array of numbers as arrays of `length` numbers each: what `join` undoes. */
export function split(joined, length) {
  return Array.from({ length: joined.length / length }, (_, k) => joined.slice(k * length, (k + 1) * length));
}

/** A float32 in as few digits as bring it back exactly. */
function digits(value) {
  for (let precision = 6; precision < 9; precision++) {
    const short = Number(value.toPrecision(precision));
    if (Math.fround(short) === Math.fround(value)) return String(short);
  }
  return String(Number(value.toPrecision(9)));
}

/** A code as JSON, in full precision. */
export function write(code) {
  return "[" + Array.from(code, digits).join(", ") + "]";
}

/** The code of `dims` numbers that a text of JSON holds; throws an Error that says what is wrong with it. */
export function read(text, dims) {
  let numbers = null;
  try {
    numbers = JSON.parse(text);
  } catch {
    throw new Error("That isn't a code: write numbers as [0.1, -2, …].");
  }
  if (!Array.isArray(numbers) || !numbers.every((each) => typeof each === "number" && Math.abs(each) <= 1e6)) {
    throw new Error("That isn't a code: write numbers as [0.1, -2, …].");
  }
  if (numbers.length !== dims) throw new Error(`A code of this model has ${dims} numbers, not ${numbers.length}.`);
  return Float32Array.from(numbers);
}
