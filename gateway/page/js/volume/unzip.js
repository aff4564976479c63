// The beginnings of the files in a zip (APPNOTE.TXT 6.3.10; 4.3.7, 4.3.12 and 4.3.16): stored or deflated, no zip64.

const [END, ENTRY, LOCAL] = [0x06054b50, 0x02014b50, 0x04034b50];
const [END_BYTES, ENTRY_BYTES, LOCAL_BYTES] = [22, 46, 30];
const LONGEST_COMMENT = 65_535;
const LARGEST_DIRECTORY = 8 * 1024 * 1024;
const ENCRYPTED = 0x2041;
const PIECE = 4 * 1024; // inflates to 4 MiB at most

const viewOf = async (blob) => new DataView(await blob.arrayBuffer());

async function directoryOf(zip) {
  const tail = await viewOf(zip.slice(Math.max(0, zip.size - LONGEST_COMMENT - END_BYTES)));
  let at = tail.byteLength - END_BYTES;
  while (at >= 0 && tail.getUint32(at, true) !== END) at -= 1;
  if (at < 0) throw new SyntaxError("no directory");
  const count = tail.getUint16(at + 10, true);
  const [size, offset] = [tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  if (size > LARGEST_DIRECTORY || offset + size > zip.size) throw new RangeError("too large a directory");
  return { count, view: await viewOf(zip.slice(offset, offset + size)) };
}

/** Of each file in a zip a function that reads its first bytes: `read(limit)` -> Uint8Array. */
export async function entriesOf(zip) {
  const { count, view } = await directoryOf(zip);
  const entries = [];
  let at = 0;
  for (let index = 0; index < count; index += 1) {
    if (view.getUint32(at, true) !== ENTRY) throw new SyntaxError("no entry");
    const [flags, method] = [view.getUint16(at + 8, true), view.getUint16(at + 10, true)];
    const [packed, whole] = [view.getUint32(at + 20, true), view.getUint32(at + 24, true)];
    const offset = view.getUint32(at + 42, true);
    if (flags & ENCRYPTED || ![0, 8].includes(method)) throw new SyntaxError("another kind of zip");
    if (whole) entries.push((limit) => beginningOf(zip, { offset, packed, deflated: method === 8 }, limit));
    at += ENTRY_BYTES + view.getUint16(at + 28, true) + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return entries;
}

async function beginningOf(zip, { offset, packed, deflated }, limit) {
  const local = await viewOf(zip.slice(offset, offset + LOCAL_BYTES));
  if (local.getUint32(0, true) !== LOCAL) throw new SyntaxError("no file");
  const start = offset + LOCAL_BYTES + local.getUint16(26, true) + local.getUint16(28, true);
  const data = zip.slice(start, start + packed);
  if (!deflated) return new Uint8Array(await data.slice(0, limit).arrayBuffer());
  return firstOf(piecesOf(data).pipeThrough(new DecompressionStream("deflate-raw")), limit);
}

function piecesOf(blob) {
  let at = 0;
  return new ReadableStream({
    async pull(controller) {
      if (at >= blob.size) { controller.close(); return; }
      controller.enqueue(new Uint8Array(await blob.slice(at, at + PIECE).arrayBuffer()));
      at += PIECE;
    },
  });
}

async function firstOf(stream, limit) {
  const reader = stream.getReader();
  const first = new Uint8Array(limit);
  let length = 0;
  try {
    while (length < limit) {
      const { done, value } = await reader.read();
      if (done) break;
      first.set(value.subarray(0, limit - length), length);
      length += Math.min(value.length, limit - length);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
  return first.subarray(0, length);
}
