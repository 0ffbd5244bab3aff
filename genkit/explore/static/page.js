// The page: how it starts, and what follows when a tab is chosen or a picture stays. Each part has a module of its own;
// imports point one way, up the list in index.html, from which the browser fetches them all at once and stored.py makes
// one file.

import { calculateAnew, fillCalculate, termKindChanged, wireCalculate } from "./calculate.js";
import { current, decodeAnew, decodeUnder, settled, whenSettled, wireCurrent } from "./current.js";
import { wireDrop } from "./drop.js";
import { $ } from "./dom.js";
import { introduce } from "./introduce.js";
import { fillColorings, wireLegend } from "./legend.js";
import { openBackend } from "./live.js";
import { openMap, showNear, wireMap } from "./onmap.js";
import { fillReconstruct, reconstructedAnew, wireReconstruct } from "./reconstruct.js";
import { buildSliders, drawSliders, wireSliders } from "./sliders.js";
import { state } from "./state.js";
import { complain, say, wireStatus } from "./status.js";
import { choose, chosenTab, whenChosen, wireTabs } from "./tabs.js";
import { fillTold, whenTold, wireTold } from "./told.js";
import { drawWalk, fillWalk, walkAnew, wireWalk } from "./walk.js";

whenSettled(() => {
  if (chosenTab() === "map") showNear(current.code);
  if (chosenTab() === "sliders") drawSliders();
});

whenTold(() => {
  decodeAnew();
  walkAnew();
  calculateAnew();
  reconstructedAnew();
});

whenChosen((name) => {
  if (!current.code) return; // there is no picture yet
  drawWalk();
  if (name === "calculate") termKindChanged();
  settled();
});

function fill() {
  fillTold();
  fillColorings();
  fillCalculate();
  fillReconstruct();
  buildSliders();
  fillWalk();
}

function wire() {
  wireTabs();
  wireStatus();
  wireMap();
  wireLegend();
  wireCurrent();
  wireTold();
  wireWalk();
  wireCalculate();
  wireSliders();
  wireReconstruct();
  if (state.about.makes_images) wireDrop();
}

async function start() {
  choose("map");
  state.backend = openBackend();
  say("Loading the map…");
  state.about = await state.backend.about();
  introduce();
  [state.points, state.labels] = await Promise.all([state.backend.points(), state.backend.labels()]);
  state.map = openMap();
  fill();
  wire();
  // Begin in the middle of the map, where there is something to see.
  const [x, y] = [state.map.view.x, state.map.view.y];
  state.map.setCursor(x, y);
  await decodeUnder(x, y);
  if (!$("status").classList.contains("error")) say("");
  document.body.dataset.ready = "true";
}

start().catch(complain);
