// Every request of the page. It goes to this server only; the key stays in this module and dies with the page.

let key = "";
const listeners = new Set();

export function setKey(value) {
  key = value.trim();
  listeners.forEach((listener) => listener());
}

/** Call `listener` whenever another key is in force. */
export const onKeyChange = (listener) => listeners.add(listener);

/** A refusal. `code` is the server's own, or "unreachable" where no server answered. */
export class Problem extends Error {
  constructor(fields = {}, retryAfter = null) {
    const { status = 0, code = "unreachable", title = "", detail = "", retryable = true } = fields;
    super(detail || title || code);
    const requestId = fields.request_id ?? null;
    Object.assign(this, { name: "Problem", status, code, title, detail, requestId, retryable, retryAfter });
  }

  /** Whether the same request may go well later, or with another key. */
  get passing() {
    return this.retryable || this.status === 401 || this.status === 403;
  }
}

/** Whatever was thrown, as a Problem that can be shown. */
export const problemOf = (error) =>
  error instanceof Problem ? error : new Problem({ code: "no-problem", detail: String(error) });

function problemFrom(status, text, header) {
  const wait = Number(header("Retry-After"));
  let body = {};
  try { body = JSON.parse(text); } catch { /* a proxy before the server may answer in its own words */ }
  const known = { code: "no-problem", title: `The server answered ${status}`, request_id: header("X-Request-ID") };
  return new Problem({ ...known, ...body, status }, Number.isFinite(wait) && wait > 0 ? wait : null);
}

const headersFor = (headers) => (key ? { ...headers, Authorization: `Bearer ${key}` } : headers);

/** A request without upload progress; resolves with the Response or rejects with a Problem. */
export async function ask(path, { headers = {}, ...options } = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "omit", cache: "no-store", ...options, headers: headersFor(headers) });
  } catch (error) {
    throw error.name === "AbortError" ? error : new Problem();
  }
  if (response.ok) return response;
  throw problemFrom(response.status, await response.text().catch(() => ""), (name) => response.headers.get(name));
}

export const askJson = async (path, options) => (await ask(path, options)).json();

/** POST a form; `onProgress` gets the share of it that has left, in [0, 1], which fetch cannot tell. */
export function send(path, form, { accept = "application/json", headers = {}, onProgress = () => {}, signal } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    const all = headersFor({ Accept: accept, ...headers });
    for (const [name, value] of Object.entries(all)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) {
        onProgress(1);
        try { resolve(JSON.parse(request.responseText)); } catch { reject(new Problem({ code: "upstream-error" })); }
      } else reject(problemFrom(request.status, request.responseText, (name) => request.getResponseHeader(name)));
    };
    request.onerror = () => reject(new Problem());
    request.onabort = () => reject(new DOMException("Stopped", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
