// The three views and the way between them. The fragment holds the view and, for a volume, the job's id: no name of a
// file or a patient ever gets there.

import { $ } from "./dom.js";
import { keepPageOnDrop } from "./files.js";
import { startSlices } from "./slice/view.js";
import { startVolumes } from "./volume/view.js";
import { startService } from "./service/view.js";

const VIEWS = ["slices", "volumes", "service"];
let views = {};

function show() {
  const [wanted, id] = location.hash.slice(1).split("/");
  const name = VIEWS.includes(wanted) ? wanted : VIEWS[0];
  for (const view of VIEWS) {
    $(`#view-${view}`).hidden = view !== name;
    const link = $(`nav a[href="#${view}"]`);
    if (view === name) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  views[name].shown?.(id ?? null);
}

keepPageOnDrop();
views = { slices: startSlices(), volumes: startVolumes(), service: startService() };
$(".skip").addEventListener("click", (event) => { event.preventDefault(); $("#main").focus(); });
window.addEventListener("hashchange", show);
show();
