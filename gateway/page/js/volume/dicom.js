// Just enough of a DICOM file to tell series apart: its first elements, up to SeriesInstanceUID, in little endian
// (PS3.5 section 7, PS3.10 section 7.1). People see what it finds; the server reads every file again by itself.

/** No more of a file is looked at, in bytes. */
export const HEAD_BYTES = 64 * 1024;

const IMPLICIT = "1.2.840.10008.1.2";
const ELSEWISE = new Set(["1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]); // big endian; deflated
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]);
const [ITEM, ITEM_END, SEQUENCE_END] = [0xfffee000, 0xfffee00d, 0xfffee0dd];
const UNDEFINED = 0xffffffff;
const DEEPEST = 16;
const [SYNTAX, LAST_OF_META, SERIES_UID] = [0x00020010, 0x0002ffff, 0x0020000e];
const CHARSET = 0x00080005;
const TAGS = {
  imageType: 0x00080008, sopClass: 0x00080016, modality: 0x00080060, description: 0x0008103e, agent: 0x00180010,
  scanning: 0x00180020, repetition: 0x00180080, echo: 0x00180081, inversion: 0x00180082, protocol: 0x00181030,
  effectiveEcho: 0x00189082, uid: SERIES_UID,
};
const WANTED = new Set([SYNTAX, CHARSET, ...Object.values(TAGS)]);

class Reader {
  constructor(bytes, at) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.at = at;
  }

  u16() { this.at += 2; return this.view.getUint16(this.at - 2, true); }
  u32() { this.at += 4; return this.view.getUint32(this.at - 4, true); }
  tag() { return this.u16() * 0x10000 + this.u16(); }

  take(length) {
    this.at += length;
    if (this.at > this.bytes.length) throw new RangeError("beyond what was read");
    return this.bytes.subarray(this.at - length, this.at);
  }

  /** Tag, VR and length in bytes of an element; its value comes next. */
  element(implicit) {
    const tag = this.tag();
    if (implicit || tag >= ITEM) return { tag, vr: "", length: this.u32() };
    const vr = String.fromCharCode(...this.take(2));
    if (!/^[A-Z]{2}$/.test(vr)) throw new SyntaxError("no VR");
    if (!LONG.has(vr)) return { tag, vr, length: this.u16() };
    this.take(2);
    return { tag, vr, length: this.u32() };
  }

  /** Pass over a value, or over the items of one whose length is not told. */
  pass({ vr, length }, implicit, depth = 0) {
    if (length !== UNDEFINED) this.take(length);
    else if (depth < DEEPEST) this.#passItems(implicit || vr === "UN", depth + 1);
    else throw new SyntaxError("too deep");
  }

  #passItems(implicit, depth) {
    for (;;) {
      const { tag, length } = this.element(implicit);
      if (tag === SEQUENCE_END) return;
      if (tag !== ITEM) throw new SyntaxError("no item");
      if (length !== UNDEFINED) this.take(length); else this.#passElements(implicit, depth);
    }
  }

  #passElements(implicit, depth) {
    for (;;) {
      const element = this.element(implicit);
      if (element.tag === ITEM_END) return;
      this.pass(element, implicit, depth);
    }
  }

  /** Bytes by tag of the elements that are wanted, up to the tag `last`. */
  values(implicit, last) {
    const found = new Map();
    while (this.at < this.bytes.length) {
      const tag = this.tag();
      this.at -= 4;
      if (tag > last) break; // what follows may be encoded in another way
      const element = this.element(implicit);
      if (WANTED.has(tag) && element.length !== UNDEFINED) found.set(tag, this.take(element.length));
      else this.pass(element, implicit);
    }
    return found;
  }
}

const plain = (text) => text.replaceAll("\0", " ").trim();
const ascii = (bytes) => plain(new TextDecoder("latin1").decode(bytes ?? new Uint8Array()));

/**
 * Texts by the names in TAGS, "" where an element is missing. null for what is no DICOM file; throws where it is one
 * that is not read here, or where `bytes` end too soon.
 */
export function headerOf(bytes) {
  if (ascii(bytes.subarray(128, 132)) !== "DICM") return null;
  const reader = new Reader(bytes, 132);
  const syntax = ascii(reader.values(false, LAST_OF_META).get(SYNTAX));
  if (ELSEWISE.has(syntax)) throw new SyntaxError("another encoding");
  const values = reader.values(syntax === IMPLICIT, SERIES_UID);
  const decoder = new TextDecoder(ascii(values.get(CHARSET)) === "ISO_IR 192" ? "utf-8" : "latin1");
  const text = (tag) => plain(decoder.decode(values.get(tag) ?? new Uint8Array()));
  return Object.fromEntries(Object.entries(TAGS).map(([name, tag]) => [name, text(tag)]));
}
