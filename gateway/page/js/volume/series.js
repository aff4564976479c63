// The MR series in a DICOM folder or its zip, with a guess at which sequence each is; people confirm or change it.

import { HEAD_BYTES, headerOf } from "./dicom.js";
import { guessSeries } from "./sequences.js";
import { entriesOf } from "./unzip.js";

const AT_ONCE = 8;
const MOST_FILES = 20_000; // as on the server
const MOST_SERIES = 32; // as on the server
// The kinds of MR images that the server takes: plain, enhanced, and enhanced by conversion.
const IMAGES = new Set(["", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4"]);

const readerOf = (file) => async (limit) => new Uint8Array(await file.slice(0, limit).arrayBuffer());

/** `read(limit)` of a file to {header}, {} for what is no DICOM, {unread: true} for DICOM that is not read here. */
async function look(read) {
  const bytes = await read(HEAD_BYTES);
  try {
    return { header: headerOf(bytes) };
  } catch {
    return { unread: true };
  }
}

/**
 * Rows {uid, description, files, sequence} of a study {files} or {zip}, and in `unread` how many DICOM files were not
 * understood. Throws, or finds no series, where the choice is the server's.
 */
export async function seriesOf({ files, zip }) {
  const readers = zip ? await entriesOf(zip) : files.map(readerOf);
  if (readers.length > MOST_FILES) throw new RangeError("too many files");
  const series = new Map();
  let unread = 0;
  for (let at = 0; at < readers.length; at += AT_ONCE) {
    for (const { header, unread: failed } of await Promise.all(readers.slice(at, at + AT_ONCE).map(look))) {
      if (failed) unread += 1;
      else if (header) note(series, header);
    }
  }
  const rows = [...series.values()].sort((a, b) => a.uid.localeCompare(b.uid, "en", { numeric: true })); // as they came
  const known = rows.every(({ uid }) => /^[0-9.]{1,64}$/.test(uid));
  if (!known || rows.length > MOST_SERIES) throw new RangeError("no choice");
  assign(rows);
  return { rows, unread };
}

function note(series, header) {
  if (header.modality.toUpperCase() !== "MR" || !IMAGES.has(header.sopClass)) return;
  if (!series.has(header.uid)) {
    const description = (header.description || header.protocol).slice(0, 64);
    series.set(header.uid, { uid: header.uid, description, files: 0, derived: false, guess: "", sequence: "" });
  }
  const row = series.get(header.uid);
  row.files += 1;
  row.derived ||= header.imageType.toUpperCase().split("\\").includes("DERIVED");
  row.guess ||= guessSeries(header); // of two echoes in one series one may tell
}

/** Each sequence is given away once: to what was measured before what was computed, then to the one of more slices. */
function assign(rows) {
  const order = rows.toSorted((a, b) => a.derived - b.derived || b.files - a.files);
  const taken = new Set();
  for (const row of order) {
    if (!row.guess || taken.has(row.guess)) continue;
    row.sequence = row.guess;
    taken.add(row.guess);
  }
}
