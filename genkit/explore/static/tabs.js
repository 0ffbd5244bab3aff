// The tabs: which one is chosen, by a click, by keys or by another part of the page.

import { $ } from "./dom.js";
import { stopPlaying } from "./player.js";

let tab = "map";
const listeners = [];

export const chosenTab = () => tab;

/** Let something be done after each choice, with the tab's name. */
export const whenChosen = (work) => listeners.push(work);

export function choose(name, focus = false) {
  if (tab === "walk" && name !== "walk") stopPlaying();
  tab = name;
  for (const button of $("tabs").children) {
    const chosen = button.id === `tab-${name}`;
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
    $(button.getAttribute("aria-controls")).hidden = !chosen;
    if (chosen && focus) button.focus();
  }
  document.body.dataset.tab = name;
  for (const work of listeners) work(name);
}

function turnTab(event) {
  const buttons = [...$("tabs").children];
  const at = buttons.findIndex((button) => button.getAttribute("aria-selected") === "true");
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  choose(buttons[(to + buttons.length) % buttons.length].id.slice(4), true);
}

export function wireTabs() {
  for (const button of $("tabs").children) button.onclick = () => choose(button.id.slice(4));
  $("tabs").addEventListener("keydown", turnTab);
}
