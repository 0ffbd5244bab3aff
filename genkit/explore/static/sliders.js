// The Sliders tab: the numbers of the current code, and the codes to begin from.

import { decodeAll, seedCode } from "./ask.js";
import { attempt, click, latest } from "./busy.js";
import { current, settled, showCode } from "./current.js";
import { $, make } from "./dom.js";
import * as latent from "./latent.js";
import { short } from "./names.js";
import { seedCount, seedIn } from "./numbers.js";
import { imageOf } from "./pictures.js";
import { stopPlaying } from "./player.js";
import { copy } from "./saving.js";
import { state } from "./state.js";
import { chosenTab } from "./tabs.js";

const REACH = 3; // standard deviations to either side that a slider goes
const STRIP = 9; // pictures in its strip
const FIRST_SLIDERS = 12;

let slidersShown = FIRST_SLIDERS;

export function buildSliders() {
  const dims = state.about.active.slice(0, slidersShown);
  $("sliders").replaceChildren(
    ...dims.map((dim) => {
      const [mean, spread] = [state.about.prior.mean[dim], state.about.prior.spread[dim]];
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
  const more = state.about.active.length - slidersShown;
  $("more-sliders").hidden = more <= 0;
  $("more-sliders").textContent = `Show ${Math.min(more, 4 * FIRST_SLIDERS)} more of ${state.about.latent_dim}`;
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
export const drawSliders = latest(async () => {
  if (chosenTab() !== "sliders") return;
  setSliders();
  const code = current.code;
  const rows = [...$("sliders").children];
  const dims = rows.map((row) => Number(row.querySelector("input").dataset.dim));
  const codes = dims.flatMap((dim) => latent.sweep(code, dim, REACH, STRIP, state.about.prior));
  const pictures = await decodeAll(codes);
  const { width, height } = state.about.image;
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
  $("seed").value = String(Math.floor(Math.random() * Math.min(seedCount(), 1_000_000)));
  return showSeed();
}

export function wireSliders() {
  click("to-mean", () => {
    stopPlaying();
    showCode(Float32Array.from(state.about.prior.mean), "The prior’s mean");
  });
  click("random-code", randomCode);
  click("show-seed", showSeed);
  click("copy-seed", () => copy(String(seedIn($("seed"))), "the seed"));
  click("more-sliders", () => {
    slidersShown += 4 * FIRST_SLIDERS;
    buildSliders();
    drawSliders();
  });
}
