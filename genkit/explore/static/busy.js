// What is under way: tried, one at a time, or put off; the page's body says whether there is any.

import { $ } from "./dom.js";
import { complain } from "./status.js";

let pending = 0;

/** Count what is under way, for whoever waits for the page to come to rest. */
function begin(number = 1) {
  pending += number;
  document.body.dataset.busy = String(pending > 0);
}

const end = () => begin(-1);

/** Run something that may fail, and say so on the page. */
export async function attempt(work) {
  begin();
  try {
    return await work();
  } catch (error) {
    complain(error);
    return undefined;
  } finally {
    end();
  }
}

/**
 * A function of which one call at a time works. Of the calls that come meanwhile, only the last is carried out: a
 * drag leaves no queue behind. While one works, `overtaken` says whether another has come: what it found is then of
 * the past, and isn't to be shown.
 */
export function latest(work) {
  let busy = false;
  let waiting = null;
  async function push(...given) {
    waiting = given;
    if (busy) return;
    busy = true;
    while (waiting) {
      const next = waiting;
      waiting = null;
      await attempt(() => work(...next));
    }
    busy = false;
  }
  push.overtaken = () => waiting !== null;
  return push;
}

/** A function that is carried out some time after its last call. */
export function later(milliseconds, work) {
  let timer = null;
  return (...given) => {
    if (timer === null) begin();
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = null;
      work(...given);
      end();
    }, milliseconds);
  };
}

/** Let a click on the button of this name do something that may fail. */
export const click = (id, work) => ($(id).onclick = () => attempt(async () => work()));
