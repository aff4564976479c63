// Which files make a volume, and which sequence each of them is.

import { $, element } from "../dom.js";
import { nameOf, size } from "../format.js";
import { SEQUENCES, assign, isNifti, isZip } from "./sequences.js";
import { seriesOf } from "./series.js";
import { zipOf } from "./zip.js";

const LOOKING = "Looking for the series…";
const SERVERS_CHOICE = "The server will choose the sequences.";

export class Intake {
  #rows = []; // {file, sequence}, or of a study {uid, description, files, sequence}
  #study = null; // {files} of a DICOM folder, or {zip}; with a note on what is known of it

  /** `experimental` is the box that asks for experimental regions; `onChange()` after each change of what would be sent. */
  constructor(root, experimental, onChange) {
    Object.assign(this, { root, experimental, onChange });
    experimental.addEventListener("change", onChange); // another job: not to be repeated under the old key
  }

  take(files) {
    const seen = files.filter(({ name }) => !name.startsWith(".")); // .DS_Store and its like
    const zip = seen.find(isZip);
    const volumes = seen.filter(isNifti);
    const before = this.#study ? [] : this.#rows.map(({ file }) => file);
    if (zip) this.#look({ zip });
    else if (volumes.length) this.#set(assign([...before, ...volumes]), null);
    else if (seen.length) this.#look({ files: seen });
  }

  clear() {
    this.experimental.checked = false;
    this.#set([], null);
  }

  /** What keeps it from being sent, in words; null when nothing does. */
  get fault() {
    if (this.#study?.note === LOOKING) return LOOKING;
    if (this.#study && !this.#rows.length) return null;
    const used = this.#rows.map(({ sequence }) => sequence).filter(Boolean);
    const [one, several] = this.#study ? ["series", "series"] : ["file", "files"];
    if (!this.#rows.length) return "Choose files first.";
    if (!used.length) return `Say of at least one ${one} which sequence it is.`;
    const twice = used.find((sequence, index) => used.indexOf(sequence) !== index);
    return twice ? `Two ${several} are marked as ${nameOf(twice)}: leave one out.` : null;
  }

  /** Of a study: sequences by SeriesInstanceUID, null for what is left out. null where nobody could choose. */
  get series() {
    if (!this.#study || !this.#rows.length) return null;
    return Object.fromEntries(this.#rows.map(({ uid, sequence }) => [uid, sequence || null]));
  }

  /** What is asked for beside the parts. */
  get wishes() {
    return {
      ...(this.series ? { series: this.series } : {}),
      ...(this.experimental.checked ? { experimental: true } : {}),
    };
  }

  /** Parts by name, for the request; a folder is zipped here. */
  async parts() {
    if (this.#study?.zip) return { dicom: this.#study.zip };
    if (this.#study) return { dicom: await zipOf(this.#study.files) };
    const used = this.#rows.filter(({ sequence }) => sequence);
    return Object.fromEntries(used.map(({ file, sequence }) => [sequence, file]));
  }

  #set(rows, study) {
    [this.#rows, this.#study] = [rows, study];
    const lines = rows.map((row) => (study ? this.#seriesRow(row) : this.#fileRow(row)));
    this.root.replaceChildren(...(study ? [this.#studyLine()] : []), ...lines);
    this.onChange();
  }

  /** Take a study, and look into it for its series; until then, and where that fails, it is sent as it is. */
  async #look(study) {
    const looking = { ...study, note: LOOKING };
    this.#set([], looking);
    let [rows, note] = [[], SERVERS_CHOICE];
    try {
      const found = await seriesOf(study);
      rows = found.rows;
      if (rows.length) note = found.unread ? `The server will choose for files not read here (${found.unread}).` : "";
    } catch { /* the server says what is wrong with it, if anything is */ }
    if (this.#study === looking) this.#set(rows, { ...study, note });
  }

  #studyLine() {
    const { zip, files, note } = this.#study;
    const bytes = zip ? zip.size : files.reduce((sum, file) => sum + file.size, 0);
    const what = zip ? zip.name : `DICOM folder of ${files.length} files`;
    return element("li", {}, element("span", { className: "tab-name", text: what }),
      element("span", { className: "fine", text: `${size(bytes)}. ${note}` }));
  }

  #fileRow(row) {
    return this.#row(row, row.file.name, size(row.file.size), row.file.name);
  }

  #seriesRow(row) {
    const name = row.description || "A series without a description";
    const slices = row.files === 1 ? "1 file" : `${row.files} files`;
    return this.#row(row, name, slices, `${name}, ${slices}`);
  }

  #row(row, name, detail, label) {
    const options = [["", "Leave out"], ...SEQUENCES.map((code) => [code, nameOf(code)])].map(([value, text]) =>
      element("option", { value, text, selected: value === row.sequence }));
    const select = element("select", { "aria-label": `Sequence of ${label}`,
      on: { change: () => { row.sequence = select.value; this.onChange(); } } }, options);
    return element("li", {}, element("span", { className: "tab-name", text: name }),
      element("span", { className: "fine", text: detail }), select);
  }
}

export const intakeOf = (root, onChange) => new Intake($(".rows", root), $(".experimental", root), onChange);
