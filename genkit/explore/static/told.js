// What the decoder is told besides a code, where it takes a condition: the chooser of a class, or of attributes.

import { $, make } from "./dom.js";
import { state } from "./state.js";

const listeners = [];

/** Let something be done once a person tells the decoder something else. */
export const whenTold = (work) => listeners.push(work);

/** Tell the decoder: [the class's number], or a number in [0, 1] for each attribute. */
export function tell(condition) {
  state.backend.condition = Float32Array.from(condition);
  const chosen = $("told").querySelector("select");
  if (chosen) chosen.value = String(condition[0]);
  $("told").querySelectorAll("input").forEach((input, k) => (input.checked = condition[k] > 0.5));
}

function chosen() {
  const select = $("told").querySelector("select");
  if (select) return [Number(select.value)];
  return [...$("told").querySelectorAll("input")].map((input) => Number(input.checked));
}

/** What a point's own image is of, as the decoder can be told it; null where that isn't known. */
export function conditionOf(index) {
  const { condition, colorings, count } = state.about;
  if (!condition) return null;
  const wanted = condition.kind === "class" ? ["class"] : condition.names;
  const rows = wanted.map((name) => colorings.findIndex((each) => each.name === name));
  return rows.includes(-1) ? null : rows.map((row) => state.labels[row * count + index]);
}

export function fillTold() {
  const { condition } = state.about;
  $("told").hidden = !condition;
  if (!condition) return;
  if (condition.kind === "class") {
    const options = condition.names.map((name, k) => make("option", { value: String(k), textContent: name }));
    $("told").replaceChildren(make("label", {}, "Decode as class ", make("select", {}, ...options)));
  } else {
    const boxes = condition.names.map((name) => make("label", {}, make("input", { type: "checkbox" }), name));
    $("told").replaceChildren(make("span", { textContent: "Decode with " }), ...boxes);
  }
  tell(condition.first);
}

export function wireTold() {
  $("told").onchange = () => {
    tell(chosen());
    for (const work of listeners) work();
  };
}
