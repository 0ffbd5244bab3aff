// What leaves the page: files that are saved, and texts that are copied.

import { make } from "./dom.js";
import { say } from "./status.js";

export function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Where the clipboard isn't to be had, the old way may do.
    const field = make("textarea", { value: text, className: "unseen" });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (!done) throw new Error("The browser doesn't let the page copy: select the text instead.");
  }
  say(`Copied ${what}.`);
}
