// Which files make a volume, and which sequence each of them is.

import { $, element } from "../dom.js";
import { nameOf, size } from "../format.js";
import { SEQUENCES, assign, isNifti, isZip } from "./sequences.js";
import { zipOf } from "./zip.js";

export class Intake {
  #rows = []; // {file, sequence}
  #study = null; // {files} of a DICOM folder, or {zip}

  /** `onChange()` after each change of what would be sent. */
  constructor(root, onChange) {
    this.root = root;
    this.onChange = onChange;
  }

  take(files) {
    const seen = files.filter(({ name }) => !name.startsWith(".")); // .DS_Store and its like
    const zip = seen.find(isZip);
    const volumes = seen.filter(isNifti);
    if (zip) this.#set([], { zip });
    else if (volumes.length) this.#set(assign([...this.#rows.map(({ file }) => file), ...volumes]), null);
    else if (seen.length) this.#set([], { files: seen });
  }

  clear() { this.#set([], null); }

  /** What keeps it from being sent, in words; null when nothing does. */
  get fault() {
    if (this.#study) return null;
    const used = this.#rows.map(({ sequence }) => sequence).filter(Boolean);
    if (!this.#rows.length) return "Choose files first.";
    if (!used.length) return "Say of at least one file which sequence it is.";
    const twice = used.find((sequence, index) => used.indexOf(sequence) !== index);
    return twice ? `Two files are marked as ${nameOf(twice)}: leave one out.` : null;
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
    this.root.replaceChildren(...(study ? [this.#studyLine()] : rows.map((row) => this.#row(row))));
    this.onChange();
  }

  #studyLine() {
    const { zip, files } = this.#study;
    const bytes = zip ? zip.size : files.reduce((sum, file) => sum + file.size, 0);
    const what = zip ? zip.name : `DICOM folder of ${files.length} files`;
    return element("li", {}, element("span", { className: "tab-name", text: what }),
      element("span", { className: "fine", text: `${size(bytes)}. The server tells the sequences apart.` }));
  }

  #row(row) {
    const options = [["", "Leave out"], ...SEQUENCES.map((code) => [code, nameOf(code)])].map(([value, text]) =>
      element("option", { value, text, selected: value === row.sequence }));
    const select = element("select", { "aria-label": `Sequence of ${row.file.name}`,
      on: { change: () => { row.sequence = select.value; this.onChange(); } } }, options);
    return element("li", {}, element("span", { className: "tab-name", text: row.file.name }),
      element("span", { className: "fine", text: size(row.file.size) }), select);
  }
}

export const intakeOf = (root, onChange) => new Intake($(".rows", root), onChange);
