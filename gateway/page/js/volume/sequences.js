// Which sequence a file is of, guessed from its name, or a DICOM series from its header; people confirm or change it.

export const SEQUENCES = ["t1", "t1ce", "t2", "flair"];

// In this order: a name with "t1ce" also holds "t1", and a FLAIR is often called "t2_flair".
const PATTERNS = [
  ["flair", /flair|tirm|dark.?fluid|(^|[^a-z0-9])t2f([^a-z0-9]|$)/],
  ["t1ce", /t1.?(ce|c|gd|gad|post|km|contrast|\+)(?![a-z]*pre)|(post|ce|gd).?t1|0003_0001|mprage.?(gd|km|ce)/],
  ["t2", /t2/],
  ["t1", /t1|mprage|spgr|bravo/],
];

/** A sequence's code, or "" where the name says nothing. */
export function guessSequence(name) {
  const plain = name.toLowerCase().replace(/\.nii(\.gz)?$/, "");
  return PATTERNS.find(([, pattern]) => pattern.test(plain))?.[0] ?? "";
}

/** Rows {file, sequence} for NIfTI files: each sequence is given away once, the other files are left out at first. */
export function assign(files) {
  const taken = new Set();
  const rows = files.map((file) => {
    const guess = guessSequence(file.name);
    const sequence = guess && !taken.has(guess) ? guess : "";
    if (sequence) taken.add(sequence);
    return { file, sequence };
  });
  // A single file without a telling name is most often the one that tumours are drawn on.
  if (rows.length === 1 && !rows[0].sequence) rows[0].sequence = "flair";
  return rows;
}

// A short form of the server's evidence (core/imaging/dicom/selection), so that what people see first is mostly what the
// server would take by itself.
const OTHER = new RegExp(
  "dwi|adc|diff|trace|dti|fa\\b|swi|swan|perf|dsc|dce|asl|bold|fmri|tof|angio|mra|mrv|venous" +
  "|scout|locali[sz]er|survey|spectro|mrs|pd\\b|proton|t2 ?\\*|t2 ?star|gre\\b|stir|subtract");
const CONTRAST = /t1 ?-?ce\b|t1c\b|\+ ?c\b|\+ ?gd|\bgd\b|gado|\bpost\b|\bkm\b|contrast|\bce\b|\bc\+/;
const NO_CONTRAST = new RegExp(
  "\\bpre\\b|without|\\bw\\/o\\b|non ?-?contrast|nativ|\\bno contrast" +
  "|\\b(ohne|vor|sans|avant|sin|senza|prima|sem|zonder|voor|bez)\\b(?! ?(fs|fat|sat|mt))");
const COMPUTED = /(^|\\)(P|R|I|PHASE.*|SUB.*|MIP|MINIP|MNIP|PROJECTION IMAGE|ADC.*|FA|TRACEW?|.* ?MAP|MOSAIC|SWI)(\\|$)/;

/** A sequence's code from a header's texts, as `headerOf` gives them; "" where they leave a doubt. */
export function guessSeries(header) {
  const text = (header.description || header.protocol).toLowerCase().replace(/[_/.,;]+/g, " ");
  if (OTHER.test(text) || COMPUTED.test(header.imageType.toUpperCase()) || isLateGradientEcho(header)) return "";
  const agent = !["", "no", "none", "n", "0"].includes(header.agent.toLowerCase());
  const contrast = !NO_CONTRAST.test(text) && (agent || CONTRAST.test(text));
  const [t1, t2] = [/t1|mp ?-?rage|bravo|spgr|tfl3d/.test(text), /t2/.test(text)];
  if (t1) return t2 ? "" : contrast ? "t1ce" : "t1";
  if (/flair|dark[ -]?fluid/.test(text) || suppressesFluid(header)) return "flair";
  return t2 ? "t2" : guessTimings(header, contrast);
}

const scanningOf = (header) => header.scanning.toUpperCase().split("\\").map((text) => text.trim());
const echoOf = (header) => Number(header.echo) || Number(header.effectiveEcho);

function isLateGradientEcho(header) {
  const scanning = scanningOf(header);
  return scanning.includes("GR") && !scanning.includes("SE") && !scanning.includes("IR") && echoOf(header) >= 10;
}

function suppressesFluid(header) {
  const inversion = Number(header.inversion);
  return inversion >= 1400 && inversion <= 3000 && echoOf(header) >= 75;
}

/** Spin-echo timings at 1.5 and 3 T, in ms. */
function guessTimings(header, contrast) {
  const [echo, repetition, inversion] = [echoOf(header), Number(header.repetition), Number(header.inversion)];
  const spinEcho = scanningOf(header).includes("SE");
  if (!spinEcho || !echo || !repetition) return "";
  if (inversion) return inversion >= 1650 && inversion <= 3000 && echo >= 75 ? "flair" : "";
  if (echo >= 75 && repetition >= 2500) return "t2";
  return echo <= 25 && repetition <= 900 ? (contrast ? "t1ce" : "t1") : "";
}

export const isNifti = ({ name }) => /\.nii(\.gz)?$/i.test(name);
export const isZip = ({ name, type }) => /\.zip$/i.test(name) || type === "application/zip";
