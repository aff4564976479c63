// The Markdown of model cards as elements: headings, paragraphs, lists, tables, code and emphasis. Everything else,
// HTML and links included, stays the text that it is: a card is read, never run.

import { element, table } from "../dom.js";

const HEADING = /^(#{1,6})\s+(.*?)\s*#*$/;
const ITEM = /^\s*(?:[-*+]|(\d+)[.)])\s+(.*)$/;
const ROW = /^\s*\|.*\|\s*$/;
const RULE = /^\s*\|(?:\s*:?-+:?\s*\|)+\s*$/; // between a table's head and its body
const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^\s*][^*]*)\*/g;
const SMALLEST_HEADING = 6;

/** Text with code, strong and emphasised pieces, as nodes. */
function inline(text) {
  const nodes = [];
  let end = 0;
  for (const { 0: whole, 1: code, 2: strong, 3: emphasis, index } of text.matchAll(INLINE)) {
    nodes.push(text.slice(end, index));
    if (code) nodes.push(element("code", { text: code }));
    else nodes.push(element(strong ? "strong" : "em", {}, inline(strong ?? emphasis)));
    end = index + whole.length;
  }
  return [...nodes, text.slice(end)].filter((node) => node !== "");
}

const cellsOf = (line) => line.trim().slice(1, -1).split(/(?<!\\)\|/)
  .map((cell) => inline(cell.trim().replaceAll("\\|", "|")));

function tableOf(lines, label) {
  const [head, , ...body] = lines.map(cellsOf);
  const rows = body.map(([first = [], ...rest]) => element("tr", {},
    element("th", { scope: "row" }, first), rest.map((cell) => element("td", {}, cell))));
  return table(label, head, rows);
}

/** Items and the lines that go on with them. */
function listOf(lines) {
  const items = [];
  for (const line of lines) {
    const [, , text] = line.match(ITEM) ?? [];
    if (text === undefined) items.push(`${items.pop()} ${line.trim()}`);
    else items.push(text);
  }
  const numbered = ITEM.exec(lines[0])[1] !== undefined;
  return element(numbered ? "ol" : "ul", {}, items.map((text) => element("li", {}, inline(text))));
}

/** Runs of lines that belong together: a heading, a table, a list, or a paragraph. */
function blocksOf(markdown) {
  const blocks = [];
  let open = null; // the block that the next line may go on with
  for (const line of markdown.split(/\r?\n/)) {
    const kind = HEADING.test(line) ? "heading" : ROW.test(line) ? "table" : ITEM.test(line) ? "list" : "text";
    if (!line.trim()) open = null;
    else if (open && kind !== "heading" && (open.kind === kind || (open.kind === "list" && kind === "text"))) {
      open.lines.push(line);
    } else {
      blocks.push({ kind, lines: [line] });
      open = kind === "heading" ? null : blocks.at(-1);
    }
  }
  return blocks;
}

/** Nodes of a Markdown text; its headings become smaller by `lower` steps, to fit below those around it. */
export function render(markdown, lower = 0) {
  let [heading, tables] = ["", 0];
  return blocksOf(markdown).map(({ kind, lines }) => {
    if (kind === "heading") {
      const [, marks, text] = lines[0].match(HEADING);
      heading = text;
      return element(`h${Math.min(marks.length + lower, SMALLEST_HEADING)}`, {}, inline(text));
    }
    if (kind === "table" && lines.length > 2 && RULE.test(lines[1])) {
      tables += 1;
      return tableOf(lines, `${heading}: table ${tables} of the card`);
    }
    if (kind === "list") return listOf(lines);
    return element("p", {}, inline(lines.map((line) => line.trim()).join(" ")));
  });
}
