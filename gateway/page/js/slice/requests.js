// What one slice asks of the server: class and outline in one call, pictures when somebody wants them.

import { ask, send } from "../api.js";

const DECLARED = new Set(["image/png", "image/jpeg", "image/tiff", "image/webp", "image/bmp", "application/dicom"]);

/** The form that is sent. The name stays here: it may tell who the patient is. Unknown types are left to the server. */
function formOf(file) {
  const form = new FormData();
  form.append("file", new Blob([file], { type: DECLARED.has(file.type) ? file.type : "" }), "slice");
  return form;
}

export const analyse = (file, options) => send("/v1/analyses?explain=cam", formOf(file), options);
export const classify = (file, options) => send("/v1/classifications?explain=cam", formOf(file), options);
export const segment = (file, options) => send("/v1/segmentations", formOf(file), options);

async function picture(file, accept) {
  const response = await ask("/v1/segmentations", { method: "POST", body: formOf(file), headers: { Accept: accept } });
  return response.blob();
}

export const maskOf = (file) => picture(file, "image/png");
export const overlayOf = (file) => picture(file, "image/png; profile=overlay");
export const imageOf = (file) => picture(file, "image/png; profile=image");
