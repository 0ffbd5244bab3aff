// Image files as they come, chosen, dropped on the page or pasted, and which tab takes them.

import { attempt } from "./busy.js";
import { addFileTerm } from "./calculate.js";
import { $ } from "./dom.js";
import { reconstructFile } from "./reconstruct.js";
import { chosenTab } from "./tabs.js";

function takeFiles(files) {
  const file = [...(files || [])].find((each) => each.type.startsWith("image/")) || (files || [])[0];
  if (!file) return;
  attempt(() => (chosenTab() === "calculate" ? addFileTerm(file) : reconstructFile(file)));
}

export function wireDrop() {
  $("file").onchange = () => {
    takeFiles($("file").files);
    $("file").value = "";
  };
  const over = (event, on) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", on);
  };
  addEventListener("dragover", (event) => over(event, true));
  addEventListener("dragleave", (event) => event.relatedTarget === null && over(event, false));
  addEventListener("drop", (event) => {
    over(event, false);
    takeFiles(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => event.clipboardData && takeFiles(event.clipboardData.files));
}
