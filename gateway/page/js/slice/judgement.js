// What may be said of a slice's answers: whether its image is familiar, whether its class is settled, and whether class
// and outline agree. Everything that names a class asks here first.

import { nameOf, percent } from "../format.js";

// On validation 97 % of the predictions with this probability or more were right, and 57 % of the others.
const SETTLED = 0.8;
const OUTLINED = "class-no-tumor-but-outlined";

/** Whether an answer is of an image like those of training; answers without an input check are taken as such. */
export const isFamiliar = (answer) => answer.input_check?.in_distribution !== false;
export const isSettled = ({ probability }) => probability >= SETTLED;

/** A class as a headline: none for an unfamiliar image, and never a plain name where the model is not sure. */
export function headlineOf(classification) {
  if (!isFamiliar(classification)) return "Unfamiliar image";
  const name = nameOf(classification.label);
  return isSettled(classification) ? name : `Undecided, perhaps ${name.toLowerCase()}`;
}

/**
 * The sentences that say how class and outline contradict each other, first the fault and then what to do; null where
 * the server finds that they agree, one of them is missing, or the image is unfamiliar and neither counts.
 */
export function contradictionOf({ analysis }) {
  if (!analysis?.contradiction || !isFamiliar(analysis)) return null;
  const { classification: c, segmentation: s, contradiction } = analysis;
  const says = isSettled(c) ? "says" : "leans to";
  const judge = "Two networks looked at this slice, and one of them is wrong. Look for yourself.";
  if (contradiction.code === OUTLINED) return [`The class ${says} no tumour, but a tumour is outlined.`, judge];
  const name = nameOf(c.label).toLowerCase();
  return [`The class ${says} ${name}, but no tumour is outlined.`, `${judge} ${candidateInWords(contradiction, s)}`];
}

function candidateInWords({ candidate }, { threshold }) {
  if (!candidate) return "Nowhere is a tumour likely enough to be offered as a candidate.";
  return `The dashed line is a candidate, not an outline: where a tumour is likeliest, with a probability of at most ` +
    `${percent(candidate.max_probability)} where ${percent(threshold, 0)} are needed. It is wrong about as often as right.`;
}

/** The candidate that is offered: only where the class speaks for a tumour and none is outlined. */
export const candidateOf = (slice) => (contradictionOf(slice) ? slice.analysis.contradiction.candidate : null);
