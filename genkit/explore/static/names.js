// What things are called on the page: points by number and class, numbers and counts in words.

import { numberOf } from "./numbers.js";
import { state } from "./state.js";

export const short = (value) => (Math.abs(value) < 0.005 ? "0" : value.toFixed(2)).replace("-", "−");
export const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export const point = () => state.about.points_are.replace(/s$/, "");

/** What the data say about a point: its class, and the attributes that it has. */
function describe(index) {
  const found = state.about.colorings.map(({ name, names }, row) => {
    const value = state.labels[row * state.about.count + index];
    if (value < 0 || value >= names.length) return "";
    return name === "class" ? names[value] : value === 1 ? name : "";
  });
  return found.filter(Boolean).join(", ");
}

export function nameOf(index) {
  const known = describe(index);
  return `${state.about.seeds_map ? "seed" : point()} ${numberOf(index)}${known ? ` (${known})` : ""}`;
}

/** What a small picture of a point has room for: its class, or else its number. */
export function captionOf(index) {
  const { about, labels } = state;
  const row = about.colorings.findIndex(({ name }) => name === "class");
  const value = row < 0 ? -1 : labels[row * about.count + index];
  return about.colorings[row]?.names[value] ?? String(numberOf(index));
}
