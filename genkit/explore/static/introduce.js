// What the page says of the run, the model and the map, wherever it says it.

import { $, make } from "./dom.js";
import { count, point } from "./names.js";
import { state } from "./state.js";

export function introduce() {
  const { about } = state;
  const { model, dataset, count: number, latent_dim: dims, points_are: kind } = about;
  const seen = about.near_by_images ? "By what the discriminator sees in their images." : "By distance between codes.";
  const chosen = about.makes_images ? "see what the model makes of its own code" : "go there";
  $("map-near-help").textContent = `${seen} Choose one to ${chosen}.`;
  if (!about.makes_images) {
    $("map-does").textContent = `Drag on the map: this model makes no images, and you see the nearest ${point()}.`;
    $("tabs").hidden = true;
  }
  document.title = `${about.run} · genkit explore`;
  $("run").textContent = about.run;
  const parts = [model, dataset, count(number, point(), kind), `${dims}-D codes`];
  $("facts").textContent = parts.join(" · ");
  for (const each of document.querySelectorAll(".points-are")) each.textContent = kind;
  if (about.seeds_map) $("stop-kind").lastElementChild.remove(); // there, samples are seeds
  for (const each of document.querySelectorAll(".point-is")) each.textContent = point();
  const methods = { native: "The codes themselves. ", pca: "PCA of the codes. ", tsne: "t-SNE of the codes. " };
  const method = about.seeds_map && about.map.method !== "native" ? "" : methods[about.map.method];
  $("map-note").textContent = `${method}Under the cursor: ${about.map.note}.`;
  $("map").setAttribute("aria-label", `Map of ${count(number, point(), kind)}`);
  $("approximate").textContent = about.approximate || "";
  $("approximate").hidden = !about.approximate;
  $("source").textContent = about.source || "";
  const refusal = about.missing && about.missing.decode;
  if (refusal) {
    for (const name of ["walk", "calculate", "sliders"]) {
      $(`panel-${name}`).prepend(make("p", { className: "banner", textContent: refusal }));
    }
  }
  const { width, height } = about.image;
  document.documentElement.style.setProperty("--shape", `${width} / ${height}`);
  document.documentElement.style.setProperty("--wide", String(Math.min(1, width / height)));
}
