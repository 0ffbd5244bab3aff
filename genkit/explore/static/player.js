// The Play button: a walk goes on by itself, until whatever else is shown stops it.

import { $ } from "./dom.js";

export const FRAME = 80; // milliseconds, in the page as in the GIF

let playing = null; // what the browser was asked to do at its next frame

export const isPlaying = () => playing !== null;

/** Call `step` every FRAME milliseconds as long as it says that there is more. */
export function startPlaying(step) {
  let due = performance.now() + FRAME;
  const tick = (now) => {
    if (now >= due) {
      due = Math.max(due + FRAME, now);
      if (!step()) {
        stopPlaying();
        return;
      }
    }
    playing = requestAnimationFrame(tick);
  };
  playing = requestAnimationFrame(tick);
  $("play").textContent = "Pause";
  $("play").setAttribute("aria-pressed", "true");
}

export function stopPlaying() {
  cancelAnimationFrame(playing || 0);
  playing = null;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
}
