// What the page asks about jobs.

import { Problem, ask, askJson, send } from "../api.js";
import { eventsOf } from "./events.js";

const ENDED = new Set(["succeeded", "failed", "cancelled"]);
const RETRY_S = [1, 2, 4, 8];

export const isOver = ({ status }) => ENDED.has(status);
export const getJob = (id, signal) => askJson(`/v1/jobs/${id}`, { signal });
export const listJobs = (limit = 20) => askJson(`/v1/jobs?limit=${limit}`);
export const cancelJob = (id) => ask(`/v1/jobs/${id}/cancel`, { method: "POST" });
export const eraseJob = (id) => ask(`/v1/jobs/${id}`, { method: "DELETE" });
export const resultOf = async (result, signal) => (await ask(result.href, { signal })).blob();

// The viewer shows the labels over it, after a reload too.
const DESCRIPTION = { outputs: ["backdrop"] };

/**
 * Send parts {name: Blob} as a new job. `wishes` may hold `series`, which says by UID which sequence each DICOM series
 * is, and `experimental`; `key` makes a repeated try the same job.
 */
export function submit(parts, wishes, key, options) {
  const form = new FormData();
  const description = JSON.stringify({ ...DESCRIPTION, ...wishes });
  form.append("job", new Blob([description], { type: "application/json" }), "job");
  for (const [name, blob] of Object.entries(parts)) {
    // The browser's file keeps its name to itself: it may tell who the patient is.
    form.append(name, new Blob([blob], { type: "application/octet-stream" }), name);
  }
  return send("/v1/jobs", form, { ...options, headers: { "Idempotency-Key": key } });
}

const pause = (seconds, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, 1000 * seconds);
  signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); });
});

/**
 * Follow a job to its end: `onJob(job)` with each new state, `onProgress({fraction, stage})` between them, `onAway()`
 * while the server is away. A stream that breaks is taken up after the last event that was seen.
 */
export async function follow(id, { onJob, onProgress, onAway }, signal) {
  let [lastId, failures] = [null, 0];
  const hasEnded = async () => {
    const job = await getJob(id, signal);
    onJob(job);
    return isOver(job);
  };
  while (!signal.aborted) {
    try {
      if (await hasEnded()) return;
      for await (const event of eventsOf(id, lastId, signal)) {
        lastId = event.id ?? lastId;
        failures = 0;
        if (event.event === "progress") onProgress(JSON.parse(event.data));
        // A new state, or a heart-beat: the place in the queue may have changed.
        else if (event.event && await hasEnded()) return;
      }
    } catch (error) {
      if (signal.aborted) return;
      // Anything that is no Problem is a stream that broke off.
      if (error instanceof Problem && !error.retryable) throw error;
      onAway();
      failures += 1;
    }
    await pause(RETRY_S[Math.min(failures, RETRY_S.length - 1)], signal);
  }
}
