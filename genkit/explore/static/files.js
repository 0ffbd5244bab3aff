// Reading an image file of one's own: its pixels, its code and its place, with the progress of a search.

import { $ } from "./dom.js";
import { state } from "./state.js";

/** Why no image of one's own can be shown here; null where it can. */
export const fileRefusal = () => (state.about.missing && state.about.missing.file) || null;

let reads = 0;

/** The code, pixels and place of an image file; null where another has been given since, which takes its place. */
export async function readFile(file) {
  const refusal = fileRefusal();
  if (refusal) throw new Error(refusal);
  const read = ++reads;
  const late = () => read !== reads;
  const bar = $("file-progress");
  bar.hidden = state.about.encoder === true;
  try {
    const found = await state.backend.file(file, (done, of) => {
      if (late()) return;
      $("file-bar").value = done / of;
      $("file-steps").textContent = `${done} / ${of}`;
    });
    return late() ? null : found;
  } catch (error) {
    if (late()) return null; // the server has given its search up
    throw error;
  } finally {
    if (!late()) bar.hidden = true;
  }
}
