// What a report says, as tables: regions and why some are withheld, the labels of the map, the series that were read.

import { element, table } from "../dom.js";
import { list, nameOf } from "../format.js";

const number = (value, unit, digits) => (value === undefined || value === null ? "" : `${value.toFixed(digits)} ${unit}`);
const heading = (text, ...notes) => element("th", { scope: "row" }, text, ...notes);

function withheldRow(name, reason) {
  return element("tr", { className: "withheld" }, heading(nameOf(name)),
    element("td", { colspan: 2 }, element("strong", { text: "Withheld. " }), reason));
}

function regionRow(name, region, reason) {
  const mark = reason ? [" ", element("span", { className: "state bad", text: "Experimental" }),
    element("p", { className: "fine", text: reason })] : [];
  return element("tr", {}, heading(nameOf(name), ...mark),
    element("td", { text: number(region.volume_ml, "ml", 2) }),
    element("td", { text: number(region.longest_diameter_mm, "mm", 1) }));
}

/** Millilitres by region; a region that nobody may rely on has its reason in their place. */
export function regionTable({ regions = {}, withheld = {}, experimental = {} }) {
  const rows = Object.entries(regions).map(([name, region]) =>
    (region ? regionRow(name, region, experimental[name]) : withheldRow(name, withheld[name])));
  if (!rows.length) return element("p", { className: "verdict", text: "No tumour outlined" });
  return table("Volumes by region", ["Region", "Volume", "Longest diameter"], rows);
}

/** Which label of the map is what. */
export function labelLine({ labels }) {
  const names = Object.entries(labels).map(([label, name]) => `${label} is ${name}`);
  return element("p", { className: "fine label-table", text: names.length ? `In the label map, ${list(names)}.`
    : "The label map is empty: nothing that was found may be relied on. That does not mean that there is no tumour." });
}

/** The series of a DICOM study that were read, and why each was taken, where the server says so. */
export function seriesTable(series) {
  const rows = series.map(({ sequence, number: place, slices, reasons = [] }) => element("tr", {},
    heading(nameOf(sequence)), element("td", { text: place ?? "" }), element("td", { text: slices ?? "" }),
    element("td", {}, reasons.length ? element("ul", { className: "reasons" },
      reasons.map((text) => element("li", { text }))) : "")));
  return table("Series that were read", ["Sequence", "Series", "Slices", "Reasons"], rows);
}
