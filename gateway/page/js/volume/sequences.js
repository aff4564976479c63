// Which sequence a file is of, guessed from its name; people confirm or change it.

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

export const isNifti = ({ name }) => /\.nii(\.gz)?$/i.test(name);
export const isZip = ({ name, type }) => /\.zip$/i.test(name) || type === "application/zip";
