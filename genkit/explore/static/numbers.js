// Seeds and points by their numbers: as people count them, type them, or leave them to chance.

import { state } from "./state.js";

const SEEDS = 2 ** 32;

/** How many seeds there are, from 0 on. */
export const seedCount = () => state.about.seeds || SEEDS;

/** A seed that a person typed; throws an Error where it is none. */
export function seedIn(field) {
  const seed = Number(field.value);
  const seeds = seedCount();
  if (field.value.trim() === "" || !Number.isInteger(seed) || seed < 0 || seed >= seeds) {
    throw new Error(`A seed is a whole number from 0 to ${seeds - 1}.`);
  }
  return seed;
}

/** A point's number as `genkit sample --images` and `--seeds` count, where the map has only some of them. */
export const numberOf = (index) => (state.about.positions ? state.about.positions[index] : index);

/** A point's number that a person typed; throws an Error where there is none. */
export function pointIn(field) {
  const { about } = state;
  const number = Number(field.value);
  const index = about.positions ? about.positions.indexOf(number) : number;
  if (field.value.trim() === "" || !Number.isInteger(index) || index < 0 || index >= about.count) {
    const some = about.positions ? `, evenly spaced: ${numberOf(1)} is the second of ${about.count}` : "";
    throw new Error(`The map has ${about.points_are} 0 to ${numberOf(about.count - 1)}${some}.`);
  }
  return index;
}

/** At most so many points, of those that the legend doesn't hide. */
export function randomIndices(number) {
  const chosen = new Set();
  const shown = Array.from({ length: state.about.count }, (_, k) => k).filter((k) => !state.map.isHidden(k));
  while (chosen.size < Math.min(number, shown.length)) chosen.add(shown[Math.floor(Math.random() * shown.length)]);
  return [...chosen];
}
