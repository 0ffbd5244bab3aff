// Small pictures to choose from.

import { attempt } from "./busy.js";
import { showPoint } from "./current.js";
import { make } from "./dom.js";
import { captionOf, nameOf } from "./names.js";
import { originalsOf } from "./originals.js";
import { small } from "./pictures.js";

/** A small picture to choose: `label` stands under it, `name` is what it is. */
export function thumb(pixels, label, choose, name) {
  const button = make("button", { type: "button", className: "thumb", onclick: choose, title: name });
  button.setAttribute("aria-label", name);
  button.append(small(pixels), make("span", { className: "caption", textContent: label }));
  return make("div", { role: "listitem", className: "item" }, button);
}

/** Points' own images, each to choose. */
export async function showThumbs(list, indices) {
  const pictures = await originalsOf(indices);
  const thumbs = indices.map((index, k) => {
    return thumb(pictures[k], captionOf(index), () => attempt(() => showPoint(index)), nameOf(index));
  });
  list.replaceChildren(...thumbs);
}
