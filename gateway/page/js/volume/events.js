// Server-sent events over fetch. EventSource cannot send an API key, and a key has no place in an address.

import { ask } from "../api.js";

/** Parse a stream of text chunks into {id, event, data}; comments (heart-beats) come as {event: "heartbeat"}. */
export async function* parsed(chunks) {
  let buffer = "";
  for await (const chunk of chunks) {
    buffer += chunk.replaceAll("\r\n", "\n");
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) yield eventOf(block);
  }
}

function eventOf(block) {
  const event = { id: null, event: null, data: "" };
  const lines = block.split("\n");
  if (lines.every((line) => line.startsWith(":"))) return { ...event, event: "heartbeat" };
  for (const line of lines) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "data") event.data += (event.data && "\n") + value;
    else if (name === "id" || name === "event") event[name] = value;
  }
  return event;
}

async function* textOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Events of a job after the one called `lastId`; ends with the stream, throws a Problem or AbortError. */
export async function* eventsOf(jobId, lastId, signal) {
  const headers = { Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
  const response = await ask(`/v1/jobs/${jobId}/events`, { headers, signal });
  if (response.body) yield* parsed(textOf(response.body)); // 204: the job has ended, and nothing is left to tell
}
