// The Calculate tab: the terms of a sum, and what it comes to.

import { decodeOne, seedCode } from "./ask.js";
import { click, latest } from "./busy.js";
import { current, leave, show } from "./current.js";
import { $, make, removeButton } from "./dom.js";
import { fileRefusal, readFile } from "./files.js";
import { nameOf, point } from "./names.js";
import { numberOf, pointIn, seedCount, seedIn } from "./numbers.js";
import { originalsOf } from "./originals.js";
import { paint, small } from "./pictures.js";
import { state } from "./state.js";
import { complain } from "./status.js";
import { chosenTab } from "./tabs.js";
import { showThumbs } from "./thumbs.js";

const MOST_TERMS = 8;

/** Terms: {sign, term, name, pictures}; `term` is what a backend's `sum` takes. */
let terms = [];

const termNames = () => state.about.terms || { labels: classNames(), attributes: attributeNames() };
const classNames = () => (state.about.colorings.find(({ name }) => name === "class") || { names: [] }).names;
const attributeNames = () => state.about.colorings.filter(({ name }) => name !== "class").map(({ name }) => name);

function fillTermKinds() {
  const { labels: classes, attributes } = termNames();
  const kinds = [
    ["label", "class", classes.length],
    ["attributes", "attributes", attributes.length],
    ["point", state.about.seeds_map ? "sample on the map" : point(), true],
    ["current", "current picture", true],
    ["seed", "seed", true],
    ["file", "image file", fileRefusal() === null],
  ];
  $("term-kind").replaceChildren(
    ...kinds.filter(([, , offered]) => offered).map(([value, name]) => make("option", { value, textContent: name })),
  );
  $("term-kind").onchange = termKindChanged;
  $("term-attributes").replaceChildren(
    ...attributes.map((name) =>
      make("label", { className: "tri" }, `${name} `, make("select", { "data-attribute": name },
        make("option", { value: "", textContent: "either" }),
        make("option", { value: "with", textContent: "with" }),
        make("option", { value: "without", textContent: "without" }),
      )),
    ),
  );
  $("sum-example").hidden = exampleTerms().length === 0;
  termKindChanged();
}

export function termKindChanged() {
  const { about, map } = state;
  const kind = $("term-kind").value;
  const detail = [];
  if (kind === "label") {
    const offered = termNames().labels.map((name) => make("option", { value: name, textContent: name }));
    detail.push(make("select", { id: "term-label", "aria-label": "Class" }, ...offered));
  } else if (kind === "point" || kind === "seed") {
    const most = kind === "point" ? numberOf(about.count - 1) : seedCount() - 1;
    const under = kind === "point" && map.cursor ? map.nearest(...map.toScreen(...map.cursor)) || 0 : 0;
    const value = kind === "point" ? numberOf(under) : 0;
    const field = make("input", { id: "term-number", type: "number", "aria-label": "Number" });
    detail.push(Object.assign(field, { min: "0", max: String(most), step: "1", value: String(value) }));
  } else if (kind === "file") {
    detail.push(make("input", { id: "term-file", type: "file", accept: "image/*", "aria-label": "Image file" }));
  }
  $("term-detail").replaceChildren(...detail);
  $("term-attributes").hidden = kind !== "attributes";
}

async function addBuiltTerm() {
  const kind = $("term-kind").value;
  if (kind === "label") {
    const name = $("term-label").value;
    addTerm({ term: `label:${name}`, name });
  } else if (kind === "attributes") {
    const chosen = [...$("term-attributes").querySelectorAll("select")].filter((select) => select.value);
    if (!chosen.length) throw new Error("Choose with or without for at least one attribute.");
    addTerm(attributeTerm(chosen.map((select) => [select.dataset.attribute, select.value === "with"])));
  } else if (kind === "point") {
    const index = pointIn($("term-number"));
    addTerm({ term: `point:${index}`, name: nameOf(index) });
  } else if (kind === "seed") {
    const seed = seedIn($("term-number"));
    addTerm({ term: `seed:${seed}`, name: `seed ${seed}`, seed });
  } else if (kind === "current") {
    addTerm({ term: { code: current.code, pixels: current.pixels }, name: current.what });
  } else {
    const file = $("term-file").files[0];
    if (!file) throw new Error("Choose an image file first.");
    await addFileTerm(file);
  }
}

export async function addFileTerm(file) {
  const name = file.name || "your image";
  const found = await readFile(file);
  if (!found) throw new Error(`${name} isn't in the sum: another image came before its code was found.`);
  addTerm({ term: { code: found.code, pixels: found.pixels }, name });
}

function attributeTerm(pairs) {
  return {
    term: pairs.map(([name, has]) => (has ? name : `!${name}`)).join("&"),
    name: pairs.map(([name, has]) => (has ? name : `not ${name}`)).join(", "),
  };
}

function nextSign() {
  return Number(document.querySelector("input[name=next-sign]:checked").value);
}

export function addTerm(term) {
  if (terms.length >= MOST_TERMS) {
    complain(new Error(`A sum has at most ${MOST_TERMS} terms: remove one first.`));
    return;
  }
  terms.push({ sign: nextSign(), pictures: [], ...term });
  termsChanged();
}

function exampleTerms() {
  const { labels: classes, attributes } = termNames();
  const has = (...names) => names.every((name) => attributes.includes(name));
  if (has("male", "glasses")) {
    const term = (sign, male, glasses) => ({ sign, ...attributeTerm([["male", male], ["glasses", glasses]]) });
    return [term(1, true, true), term(-1, true, false), term(1, false, false)];
  }
  if (attributes.length >= 2) {
    const [a, b] = attributes;
    const term = (sign, first, second) => ({ sign, ...attributeTerm([[a, first], [b, second]]) });
    return [term(1, true, true), term(-1, true, false), term(1, false, false)];
  }
  if (classes.length < 3) return [];
  const chosen = ["7", "1", "4"].every((name) => classes.includes(name)) ? ["7", "1", "4"] : classes;
  return [1, -1, 1].map((sign, k) => ({ sign, term: `label:${chosen[k]}`, name: chosen[k] }));
}

function termsChanged() {
  drawTerms();
  calculate();
}

function drawTerms() {
  $("terms").replaceChildren(
    ...terms.map((each, k) => {
      const sign = make("button", { type: "button", className: "sign", textContent: each.sign > 0 ? "+" : "−" });
      sign.setAttribute("aria-label", `${each.sign > 0 ? "plus" : "minus"} ${each.name}; change the sign`);
      sign.onclick = () => {
        each.sign = -each.sign;
        termsChanged();
        $("terms").children[k].querySelector(".sign").focus();
      };
      const pictures = make("span", { className: "exemplars" }, ...each.pictures.map(small));
      const name = make("span", { className: "name", textContent: each.name });
      const remove = removeButton(each.name, () => {
        terms.splice(k, 1);
        termsChanged();
        $("term-add").focus();
      });
      return make("div", { role: "listitem", className: "term" }, sign, pictures, name, remove);
    }),
  );
  $("terms").classList.toggle("empty", !terms.length);
}

const calculate = latest(async () => {
  const asked = [...terms];
  if (!asked.length) {
    $("sum-result").hidden = true;
    leave("sum");
    return;
  }
  const wanted = asked.map(({ sign, term }) => ({ sign, term }));
  const result = await state.backend.sum(wanted);
  if (calculate.overtaken()) return;
  for (const [k, each] of asked.entries()) {
    const indices = (result.terms[k] || { images: [] }).images;
    if (indices.length) each.pictures = await originalsOf(indices);
    else if (typeof each.term !== "string") each.pictures = [each.term.pixels];
    else if (each.seed !== undefined) each.pictures = [await decodeOne(await seedCode(each.seed))];
  }
  await showThumbs($("sum-near"), [...result.near]);
  if (calculate.overtaken()) return;
  drawTerms();
  paint($("sum-picture"), result.pixels);
  paint($("sum-control"), result.control);
  $("sum-result").hidden = false;
  const names = asked.map(({ sign, name }, k) => (sign > 0 ? (k ? "+ " : "") : "− ") + name);
  if (chosenTab() === "calculate") show(result.code, result.pixels, names.join(" "), { of: "sum" });
});

/** The same sum, once the decoder is told something else. */
export function calculateAnew() {
  if (terms.length) calculate();
}

export function fillCalculate() {
  fillTermKinds();
  drawTerms();
}

export function wireCalculate() {
  click("term-add", addBuiltTerm);
  click("terms-clear", () => {
    terms = [];
    termsChanged();
  });
  click("sum-example", () => {
    terms = exampleTerms().map((each) => ({ pictures: [], ...each }));
    termsChanged();
  });
}
