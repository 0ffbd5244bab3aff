// Elements of the page: found, and made.

export const $ = (id) => document.getElementById(id);

/** An element with properties, attributes (those with a dash, and role) and children. */
export function make(kind, properties = {}, ...children) {
  const element = document.createElement(kind);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

export function removeButton(name, remove) {
  const button = make("button", { type: "button", className: "remove", textContent: "×", onclick: remove });
  button.setAttribute("aria-label", `Remove ${name}`);
  return button;
}
