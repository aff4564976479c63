// What to do next, by the code of a problem. A test holds that every code of the server is here.

import { button, element } from "./dom.js";
import { duration } from "./format.js";

const LATER = "Wait a moment, then try again.";
const EXPORT = "Export it again from the archive as an uncompressed DICOM file, or as PNG.";

const ADVICE = {
  "unreachable": ["The server does not answer",
    "Check that it is running and that you are connected, then try again. What is on this page stays."],
  "no-problem": ["The answer made no sense",
    "Something between this page and the server may have answered. Try again."],
  "invalid-request": ["The request was malformed", "Reload this page and try again."],
  "invalid-image": ["This file cannot be used as an image",
    "Open it in a viewer, save it as PNG and send that."],
  "invalid-dicom": ["This DICOM file cannot be read", EXPORT],
  "invalid-nifti": ["This NIfTI file cannot be used",
    "Write it again with a current tool. Of a series over time, send one frame."],
  "unsupported-media-type": ["Files of this kind are not read here",
    "Send a PNG, JPEG, TIFF or DICOM slice, or a NIfTI volume."],
  "unsupported-transfer-syntax": ["This DICOM compression is not read here", EXPORT],
  "input-too-large": ["The file is too large", "Send one slice at a time, or scale it down."],
  "decompression-bomb": ["The file would unpack to too many pixels",
    "Scale the image down: 1024 pixels a side are plenty."],
  "not-mr": ["This is not a magnetic resonance image", "Choose an MR slice: the models know nothing else."],
  "missing-sequence": ["A sequence is missing",
    "Say of at least one file which sequence it is: T1, T1 with contrast, T2 or FLAIR."],
  "inconsistent-geometry": ["The files do not fit together",
    "Send sequences of one examination, on one grid, and complete series."],
  "too-few-slices": ["Too few slices for a volume",
    "Send the whole series. Single slices belong under Slices."],
  "unknown-model": ["That model is not served here", "Choose one of those listed under Service."],
  "model-unavailable": ["The model server is away", LATER],
  "not-found": ["There is nothing at this address",
    "This server may not offer it, or the job belongs to another key."],
  "method-not-allowed": ["This server does not offer that", "Ask the operator whether it is up to date."],
  "not-acceptable": ["This server cannot answer in that form", "Reload this page and try again."],
  "range-not-satisfiable": ["That part of the file does not exist", "Download the whole file again."],
  "result-expired": ["The results have been erased", "Their time was up. Send the volume again."],
  "job-not-cancellable": ["The job has already ended",
    "There is nothing to cancel. You can erase what it left."],
  "job-crashed": ["The job failed more than once",
    "Save the volume again with a current tool and send that."],
  "job-timed-out": ["The job took too long", "Crop the volume or resample it to fewer voxels."],
  "idempotency-conflict": ["This job is still being taken in", LATER],
  "idempotency-key-reuse": ["The server took this for another job", "Press Start again."],
  "unauthorized": ["This server asks for an API key", "Enter your key, then try again."],
  "forbidden": ["Your key does not allow this", "Enter another key, or ask the operator for this scope."],
  "rate-limited": ["Too many requests in a short time", LATER],
  "queue-full": ["The server has all the work it can take",
    "Nothing is lost: try again when the time is up."],
  "quota-exceeded": ["Your key has as much here as it may", "Delete jobs, or wait until some have ended."],
  "upload-stalled": ["The upload came to a standstill", "Check the connection, then send it again."],
  "uploads-busy": ["Others are uploading just now", LATER],
  "queue-unavailable": ["Volumes cannot be taken in now",
    "Try again in a moment. Jobs that were accepted before are kept."],
  "storage-unavailable": ["The store for results is away", LATER],
  "storage-full": ["The server has no room left", "Erase jobs that you no longer need, under Service."],
  "not-ready": ["The server is still starting, or stopping", LATER],
  "upstream-error": ["The model server broke off its answer",
    "Try again. If it happens with the same image, report the request number."],
  "deadline-exceeded": ["The answer took too long", "Send fewer files at once, then try again."],
  "internal-error": ["Something failed inside the server",
    "It is not your file. Report the request number to the operator."],
};

/** [what happened, what to do next] for a Problem or a job's own problem. */
export function adviceOn(problem) {
  return ADVICE[problem.code] ?? [problem.title || "That did not work", "Try again, or report the request number."];
}

/** The box that shows a problem; `again` is what its button does, where trying again makes sense. */
export function problemBox(problem, again = null) {
  const [title, next] = adviceOn(problem);
  const wait = problem.retryAfter ? ` Expected wait: ${duration(problem.retryAfter)}.` : "";
  const requestId = problem.requestId ?? problem.request_id;
  const needsKey = problem.code === "unauthorized" || problem.code === "forbidden";
  return element("div", { className: "problem", role: "alert", "data-code": problem.code },
    element("p", { className: "problem-title", text: title }),
    element("p", { text: next + wait }),
    problem.detail ? element("p", { className: "fine", text: problem.detail }) : null,
    element("p", { className: "row" },
      again && problem.passing ? button("Try again", again) : null,
      needsKey ? element("a", { href: "#service", className: "button", text: "Enter a key" }) : null),
    requestId ? element("p", { className: "fine", text: `Request ${requestId}` }) : null);
}
