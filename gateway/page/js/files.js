// Ways in for files: choosing, dropping (folders too) and pasting.

/** Files below a dropped entry, folders walked through. */
async function filesBelow(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    // A reader hands over a hundred entries at most and has to be asked again.
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return found;
    for (const child of entries) found.push(...await filesBelow(child));
  }
}

async function filesOf(transfer) {
  // Entries must be taken before the first await: the transfer is emptied after the event.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map(filesBelow))).flat();
}

/** Call `take(files)` for what is dropped on `zone` or chosen with one of its inputs. */
export function acceptFiles(zone, take) {
  for (const input of zone.querySelectorAll("input[type=file]")) {
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = ""; // the same file chosen again is a wish to try again
      if (files.length) take(files);
    });
  }
  zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    const files = await filesOf(event.dataTransfer);
    if (files.length) take(files);
  });
}

/** Call `take(files)` for pasted files while `isWanted()`. */
export function acceptPaste(isWanted, take) {
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length && isWanted()) { event.preventDefault(); take(files); }
  });
}

/** A file that misses its target must not replace the page. */
export function keepPageOnDrop() {
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
}
