// Building elements. Text is set as text and never parsed, so nothing from a file or a server becomes markup.

/** An element; `on` maps events to handlers, other options are attributes (true: present, false or null: left out). */
export function element(tag, { text, className, on = {}, ...attributes } = {}, ...children) {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const [name, handler] of Object.entries(on)) node.addEventListener(name, handler);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const $ = (selector, root = document) => root.querySelector(selector);

export function button(text, onClick, className = "") {
  return element("button", { type: "button", text, className, on: { click: onClick } });
}

/** A labelled range; `onInput` gets the number at once and with every change. */
export function slider(text, { min = 0, max = 100, step = 1, value = 100, unit = " %" }, onInput) {
  const output = element("output", { text: `${value}${unit}` });
  const input = element("input", { type: "range", min, max, step, value });
  input.addEventListener("input", () => {
    output.textContent = `${input.value}${unit}`;
    onInput(Number(input.value));
  });
  const label = element("label", { className: "slider" }, element("span", { text }), input, output);
  return { label, input, set(next) { input.value = next; output.textContent = `${next}${unit}`; } };
}

/** A table that scrolls by itself where it is too wide; `label` is what it is of, `columns` are texts or nodes. */
export function table(label, columns, rows) {
  const heads = columns.map((head) => (head.length ? element("th", { scope: "col" }, head) : element("td")));
  return element("div", { className: "scroll", tabindex: 0, role: "region", "aria-label": label },
    element("table", {}, element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows)));
}

/** Whether something is ready, as a small sign. */
export const readySign = (ready) =>
  element("span", { className: ready ? "state good" : "state bad", text: ready ? "Ready" : "Away" });

/** Let the browser save what is in memory; `name` must not come from the caller's file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Say it to people who listen instead of looking. */
export function announce(text) {
  $("#status").textContent = text;
}
