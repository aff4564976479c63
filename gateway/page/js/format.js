// Names and numbers as people read them.

const NAMES = {
  glioma: "Glioma", meningioma: "Meningioma", pituitary: "Pituitary tumour", no_tumor: "No tumour",
  neurocytoma: "Neurocytoma", schwannoma: "Schwannoma",
  whole_tumor: "Whole tumour", tumor_core: "Tumour core", necrotic_core: "Necrotic core", oedema: "Oedema",
  enhancing: "Enhancing tumour", enhancing_tumor: "Enhancing tumour", tumor: "Tumour",
  t1: "T1", t1ce: "T1 with contrast", t2: "T2", flair: "FLAIR", dicom: "DICOM study",
};

const capitalised = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const nameOf = (code) => NAMES[code] ?? capitalised(code.replaceAll("_", " ").replaceAll("-", " "));
export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
export const list = (words, last = "and") =>
  words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} ${last} ${words.at(-1)}`;

export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  return bytes < 1024 ** 2 ? `${(bytes / 1024).toFixed(0)} KB` : `${(bytes / 1024 ** 2).toFixed(1)} MB`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, seconds).toFixed(0)} s`;
  const rest = Math.round(seconds % 60);
  return `${Math.floor(seconds / 60)} min${rest ? ` ${rest} s` : ""}`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
export const time = (iso) => (iso ? CLOCK.format(new Date(iso)) : "");
