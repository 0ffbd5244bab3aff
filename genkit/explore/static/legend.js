// The legend below the map: what colours its points, and which of them are shown.

import { $, make } from "./dom.js";
import { mark, styleOf } from "./map.js";
import { count, point } from "./names.js";
import { state } from "./state.js";

export function fillColorings() {
  $("coloring").replaceChildren(
    ...state.about.colorings.map(({ name }, row) => make("option", { value: String(row), textContent: name })),
    make("option", { value: "", textContent: "nothing" }),
  );
  $("legend-row").hidden = !state.about.colorings.length;
  $("coloring").onchange = colour;
  colour();
}

function colour() {
  const row = $("coloring").value;
  if (row === "") {
    state.map.setGroups([], null);
    $("legend").replaceChildren();
    return;
  }
  const groups = state.labels.subarray(Number(row) * state.about.count, (Number(row) + 1) * state.about.count);
  state.map.setGroups(state.about.colorings[row].names, groups);
  drawLegend();
}

function drawLegend() {
  const sizes = state.map.names.map(() => 0);
  for (const group of state.map.groups) if (group >= 0) sizes[group]++;
  $("legend").replaceChildren(
    ...state.map.names.flatMap((name, group) => {
      if (!sizes[group]) return [];
      const swatch = make("canvas", { "aria-hidden": "true", className: "swatch" });
      const chip = make("button", { type: "button", className: "chip", "aria-pressed": "true" }, swatch, name);
      chip.dataset.group = String(group);
      chip.title = `${name}: ${count(sizes[group], point(), state.about.points_are)}`;
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
    const style = styleOf(Number(chip.dataset.group), state.map.dark);
    mark(swatch.getContext("2d"), style, 7 * ratio, 7 * ratio, 4.2 * ratio);
  }
}

/** The first choice shows one class alone; further ones add and take away; the last one that goes brings all back. */
function filter(group) {
  const all = [...$("legend").children].map((chip) => Number(chip.dataset.group));
  const hidden = new Set(state.map.hidden);
  if (!hidden.size) all.forEach((each) => each !== group && hidden.add(each));
  else if (!hidden.delete(group)) hidden.add(group);
  if (hidden.size === all.length) hidden.clear();
  state.map.setHidden(hidden);
  for (const chip of $("legend").children) {
    chip.setAttribute("aria-pressed", String(!hidden.has(Number(chip.dataset.group))));
  }
}

export function wireLegend() {
  state.map.scheme.addEventListener("change", drawSwatches);
}
