// The line at the foot of the page that says what was done, and what went wrong.

import { $ } from "./dom.js";

/** A line that a person, or a screen reader, should notice. */
export function say(text) {
  $("status").textContent = text;
  $("status").classList.remove("error");
}

export function complain(error) {
  $("status").textContent = error.message || String(error);
  $("status").classList.add("error");
}

export function wireStatus() {
  // What the line says stays until a person does the next thing, whatever else succeeds meanwhile.
  for (const kind of ["pointerdown", "keydown", "drop", "paste"]) addEventListener(kind, () => say(""), true);
}
