// A zip of a DICOM folder, made in the browser: stored, not deflated (APPNOTE.TXT 6.3.10; 4.3.7, 4.3.12 and 4.3.16).
// Names are numbers, since those of a folder may tell who the patient is.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit += 1) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c >>> 0;
});

export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** Little-endian fields, given as [bytes, value] pairs. */
function fields(...pairs) {
  const view = new DataView(new ArrayBuffer(pairs.reduce((sum, [width]) => sum + width, 0)));
  let at = 0;
  for (const [width, value] of pairs) {
    if (width === 2) view.setUint16(at, value, true); else view.setUint32(at, value, true);
    at += width;
  }
  return new Uint8Array(view.buffer);
}

const DATE_1980 = 33; // no time of this machine is told

/** One Blob; the files' own bytes are read once, for their checksums, and never all at the same time. */
export async function zipOf(files) {
  const [parts, directory] = [[], []];
  let offset = 0;
  for (const [index, file] of files.entries()) {
    const name = new TextEncoder().encode(String(index).padStart(6, "0"));
    const crc = crc32(new Uint8Array(await file.arrayBuffer()));
    const common = [
      [2, 20], [2, 0], [2, 0], [2, 0], [2, DATE_1980], [4, crc], [4, file.size], [4, file.size], [2, name.length], [2, 0],
    ];
    parts.push(fields([4, 0x04034b50], ...common), name, file);
    directory.push(fields([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), name);
    offset += 30 + name.length + file.size;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = files.length;
  const end = fields([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
