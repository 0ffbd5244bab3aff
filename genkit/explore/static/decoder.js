// A model's layers in plain JavaScript: what an exported page decodes and encodes with, without a server.
//
// A program is a list of steps, as genkit/explore/program.py writes it; each names the values that it reads by their
// number (0 is the input, 1 the first step's result, ...). Values are Float32Arrays of one image or one code, channel by
// channel; sums are taken in doubles.

// The largest argument for which erf isn't 1 to all digits that matter here, and the table's entries a unit.
const ERF_REACH = 6;
const ERF_STEPS = 64;
const TWO_OVER_ROOT_PI = 2 / Math.sqrt(Math.PI);

// erf on an even grid, by the series e^(-x²) 2/√π Σ 2^n x^(2n+1) / (1·3·5···(2n+1)), whose terms are all positive.
const erfTable = (function () {
  const table = new Float64Array(ERF_REACH * ERF_STEPS + 2);
  for (let index = 0; index < table.length; index++) {
    const x = index / ERF_STEPS;
    let term = x;
    let sum = x;
    for (let odd = 3; term > 1e-18 * sum; odd += 2) {
      term *= (2 * x * x) / odd;
      sum += term;
    }
    table[index] = TWO_OVER_ROOT_PI * Math.exp(-x * x) * sum;
  }
  return table;
})();

// erf between the grid's points by the cubic that also has its slopes there: 1e-9 from the truth at most.
export function erf(x) {
  const size = Math.abs(x);
  if (!(size < ERF_REACH)) return x > 0 ? 1 : x < 0 ? -1 : x;
  const index = Math.floor(size * ERF_STEPS);
  const t = size * ERF_STEPS - index;
  const left = index / ERF_STEPS;
  const right = left + 1 / ERF_STEPS;
  const slope0 = (TWO_OVER_ROOT_PI * Math.exp(-left * left)) / ERF_STEPS;
  const slope1 = (TWO_OVER_ROOT_PI * Math.exp(-right * right)) / ERF_STEPS;
  const value0 = erfTable[index];
  const value1 = erfTable[index + 1];
  const rise = value1 - value0;
  const value = value0 + t * (slope0 + t * (3 * rise - 2 * slope0 - slope1 + t * (slope0 + slope1 - 2 * rise)));
  return x < 0 ? -value : value;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// One number to one number. `step` has the constants.
const POINTWISE = {
  relu: () => (x) => (x < 0 ? 0 : x),
  gelu: () => (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
  silu: () => (x) => x * sigmoid(x),
  tanh: () => Math.tanh,
  sigmoid: () => sigmoid,
  leaky_relu: (step) => (x) => (x < 0 ? step.slope * x : x),
  affine: (step) => (x) => step.scale * x + step.shift,
  clamp: (step) => (x) => Math.min(Math.max(x, step.low), step.high),
};

// c[row, column] = Σ a[row, k] b[column, k] over `depth` numbers k, two rows by four columns at a time: the sums then stay
// in registers, which makes it three times as fast.
function product(a, b, rows, columns, depth) {
  const c = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row += 2) {
    const second = row + 1 < rows;
    const a0 = row * depth;
    const a1 = second ? a0 + depth : a0;
    let place = row * columns;
    let column = 0;
    for (; column + 3 < columns; column += 4, place += 4) {
      const b0 = column * depth;
      const b1 = b0 + depth;
      const b2 = b1 + depth;
      const b3 = b2 + depth;
      let s00 = 0, s01 = 0, s02 = 0, s03 = 0, s10 = 0, s11 = 0, s12 = 0, s13 = 0;
      for (let k = 0; k < depth; k++) {
        const x = a[a0 + k], y = a[a1 + k];
        const p = b[b0 + k], q = b[b1 + k], r = b[b2 + k], s = b[b3 + k];
        s00 += x * p; s01 += x * q; s02 += x * r; s03 += x * s;
        s10 += y * p; s11 += y * q; s12 += y * r; s13 += y * s;
      }
      c[place] = s00; c[place + 1] = s01; c[place + 2] = s02; c[place + 3] = s03;
      if (second) {
        const below = place + columns;
        c[below] = s10; c[below + 1] = s11; c[below + 2] = s12; c[below + 3] = s13;
      }
    }
    for (; column < columns; column++, place++) {
      const start = column * depth;
      let s0 = 0, s1 = 0;
      for (let k = 0; k < depth; k++) {
        s0 += a[a0 + k] * b[start + k];
        s1 += a[a1 + k] * b[start + k];
      }
      c[place] = s0;
      if (second) c[place + columns] = s1;
    }
  }
  return c;
}

// The rows of a matrix as its columns.
function transposed(matrix, rows, columns) {
  const result = new Float32Array(rows * columns);
  for (let row = 0, place = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = matrix[place++];
  }
  return result;
}

// y = W x + b; W is (outputs, inputs).
function linear(step, weights, biases) {
  const { inputs, outputs } = step;
  const weight = weights.subarray(step.weight, step.weight + inputs * outputs);
  return (input) => {
    const sums = product(input, weight, 1, outputs, inputs);
    if (step.bias !== null) for (let row = 0; row < outputs; row++) sums[row] += biases[step.bias + row];
    return new Float32Array(sums);
  };
}

// W is (outputs, inputs, kernel height, kernel width): a product with the patch of the input under each output pixel.
function conv2d(step, weights, biases) {
  const [inputs, height, width] = step.before;
  const [outputs, outHeight, outWidth] = step.after;
  const depth = inputs * step.kernel[0] * step.kernel[1];
  const area = outHeight * outWidth;
  const weight = weights.subarray(step.weight, step.weight + outputs * depth);
  return (input) => {
    const patches = new Float32Array(area * depth);
    for (let y = 0, place = 0; y < outHeight; y++) {
      for (let x = 0; x < outWidth; x++) {
        for (let channel = 0; channel < inputs; channel++) {
          for (let ky = 0; ky < step.kernel[0]; ky++) {
            const row = y * step.stride[0] - step.padding[0] + ky;
            const inside = row >= 0 && row < height;
            for (let kx = 0; kx < step.kernel[1]; kx++, place++) {
              const column = x * step.stride[1] - step.padding[1] + kx;
              if (inside && column >= 0 && column < width) patches[place] = input[(channel * height + row) * width + column];
            }
          }
        }
      }
    }
    const sums = product(patches, weight, area, outputs, depth);
    const output = new Float32Array(outputs * area);
    for (let channel = 0, place = 0; channel < outputs; channel++) {
      const bias = step.bias === null ? 0 : biases[step.bias + channel];
      for (let pixel = 0; pixel < area; pixel++) output[place++] = sums[pixel * outputs + channel] + bias;
    }
    return output;
  };
}

// W is (inputs, outputs, kernel height, kernel width): every input pixel lays its kernel on the output.
function convTranspose2d(step, weights, biases) {
  const [inputs, height, width] = step.before;
  const [outputs, outHeight, outWidth] = step.after;
  const taps = step.kernel[0] * step.kernel[1];
  const area = height * width;
  const laid = weights.subarray(step.weight, step.weight + inputs * outputs * taps);
  const weight = transposed(laid, inputs, outputs * taps);
  return (input) => {
    const sums = product(transposed(input, inputs, area), weight, area, outputs * taps, inputs);
    const whole = new Float64Array(outputs * outHeight * outWidth);
    for (let y = 0, place = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let channel = 0; channel < outputs; channel++) {
          for (let ky = 0; ky < step.kernel[0]; ky++) {
            const row = y * step.stride[0] - step.padding[0] + ky;
            const inside = row >= 0 && row < outHeight;
            for (let kx = 0; kx < step.kernel[1]; kx++, place++) {
              const column = x * step.stride[1] - step.padding[1] + kx;
              if (inside && column >= 0 && column < outWidth) {
                whole[(channel * outHeight + row) * outWidth + column] += sums[place];
              }
            }
          }
        }
      }
    }
    const outArea = outHeight * outWidth;
    for (let channel = 0; channel < outputs && step.bias !== null; channel++) {
      const bias = biases[step.bias + channel];
      for (let end = (channel + 1) * outArea, place = end - outArea; place < end; place++) whole[place] += bias;
    }
    return new Float32Array(whole);
  };
}

// A scale and a shift a channel, of `inner` numbers each: batch normalisation as it is after training.
function normalise(step, weights, biases) {
  return (input) => {
    const output = new Float32Array(input.length);
    for (let channel = 0, place = 0; place < input.length; channel++) {
      const scale = biases[step.scale + channel];
      const shift = biases[step.shift + channel];
      for (const end = place + step.inner; place < end; place++) output[place] = scale * input[place] + shift;
    }
    return output;
  };
}

function pointwise(step) {
  const of = POINTWISE[step.op](step);
  return (input) => {
    const output = new Float32Array(input.length);
    for (let place = 0; place < input.length; place++) output[place] = of(input[place]);
    return output;
  };
}

const LAYERS = {
  linear,
  conv2d,
  conv_transpose2d: convTranspose2d,
  normalise,
  part: (step) => (input) => input.subarray(step.start, step.start + step.size),
  add: () => (a, b) => a.map((value, place) => value + b[place]),
};

// What runs a program: a function from the input's Float32Array to the result's.
//
// program: {steps, weights, biases}, the last two Float32Arrays into which the steps point.
export function runner(program) {
  const steps = program.steps.map((step) => {
    const kind = POINTWISE[step.op] ? pointwise : LAYERS[step.op];
    if (!kind) throw new Error(`this page doesn't know the layer ${step.op}`);
    return { from: step.from, run: kind(step, program.weights, program.biases) };
  });
  return (input) => {
    const values = [input];
    for (const { from, run } of steps) values.push(run(values[from[0]], values[from[1]]));
    return values[program.output];
  };
}

// Half-precision numbers (IEEE 754 binary16, in a Uint16Array) as a Float32Array.
export function fromHalves(halves) {
  const floats = new Float32Array(halves.length);
  for (let index = 0; index < halves.length; index++) {
    const bits = halves[index];
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    let size = exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24;
    if (exponent === 31) size = fraction ? NaN : Infinity;
    floats[index] = bits & 0x8000 ? -size : size;
  }
  return floats;
}

// An image in [0, 1], channel by channel, as bytes, pixel by pixel; rounded and clamped as genkit's images are.
export function toPixels(image, channels) {
  const area = image.length / channels;
  const pixels = new Uint8ClampedArray(image.length);
  for (let channel = 0, from = 0; channel < channels; channel++) {
    for (let place = channel; place < channels * area; place += channels) pixels[place] = Math.fround(255 * image[from++]);
  }
  return pixels;
}

// The way back: bytes, pixel by pixel, as an image in [0, 1], channel by channel.
export function fromPixels(pixels, channels) {
  const area = pixels.length / channels;
  const image = new Float32Array(pixels.length);
  for (let channel = 0, to = 0; channel < channels; channel++) {
    for (let place = channel; place < channels * area; place += channels) image[to++] = pixels[place] / 255;
  }
  return image;
}
