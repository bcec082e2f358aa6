// What the page asks the gateway: nothing that others could not ask too (docs/http.md).

/** Why there is no answer: a title, a sentence, and whether it may go better later. */
export class Trouble extends Error {
  constructor(title, detail, { code = "", retryable = false } = {}) {
    super(detail);
    Object.assign(this, { title, detail, code, retryable });
  }
}

const KEY = "mlaas.key";

/** What is shown to the gateway: a key that was typed in this tab. */
export const credential = {
  get() {
    try {
      return sessionStorage.getItem(KEY);
    } catch {
      return this.held;
    }
  },
  set(key) {
    this.held = key;
    try {
      if (key) sessionStorage.setItem(KEY, key);
      else sessionStorage.removeItem(KEY);
    } catch {
      // Where nothing may be kept it holds until the page is left.
    }
  },
  held: null,
  /** Called with a sentence where the gateway does not know who asks. */
  wanted: () => {},
};

const gone = () =>
  new Trouble("The gateway does not answer", `Nothing answers at ${location.host}: it may have ended, or the network is down.`, {
    retryable: true,
  });

// By the status: what it means to whoever sent an image. The sentence beneath is the gateway's own.
const TITLES = {
  400: "Not understood",
  401: "A key is wanted",
  403: "Not allowed",
  404: "Not served",
  408: "Sent too slowly",
  413: "Too large",
  422: "Not a picture that can be read",
  409: "Somebody else was quicker",
  429: "Too much under way",
  500: "A fault of the gateway's",
  501: "Not possible here",
  503: "Not possible now",
  504: "No answer in time",
};

async function asked([path, options]) {
  const key = credential.get();
  const headers = key ? { ...options.headers, authorization: `Bearer ${key}` } : options.headers;
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw new Trouble("Stopped", "It was not waited for.", { retryable: true });
    throw gone();
  }
}

async function answered(request) {
  const response = await asked(request);
  let body;
  try {
    body = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw new Trouble("Stopped", "It was not waited for.", { retryable: true });
    if (error.name !== "SyntaxError") throw gone();
  }
  if (response.ok && body) return body;
  if (response.status === 401) credential.wanted(body?.detail ?? "The key is not taken.");
  const detail = body?.detail ?? `The answer was ${response.status} ${response.statusText}, and no more.`;
  const title = TITLES[response.status] ?? `Error ${response.status}`;
  const code = body?.code ? `${response.status} ${body.code}` : String(response.status);
  throw new Trouble(title, detail, { code, retryable: body?.retryable ?? response.status >= 500 });
}

/** Who serves what. */
export const workers = () => answered(["/v1/workers", { cache: "no-store" }]);

/** What went on in the last minutes. */
export const activity = (minutes) => answered([`/v1/activity?minutes=${minutes}`, { cache: "no-store" }]);

/** What workers do, and did in the last minutes; of one model or worker where it is named. */
export function live(minutes, model, worker) {
  const query = new URLSearchParams({ minutes });
  if (model) query.set("model", model);
  if (worker) query.set("worker", worker);
  return answered([`/v1/live?${query}`, { cache: "no-store" }]);
}

/** Images that people should look at. */
export function reviewPage(asked) {
  const query = new URLSearchParams(Object.entries(asked).filter(([, value]) => value));
  return answered([`/v1/review?${query}`, { cache: "no-store" }]);
}

/** The file of one of them. */
export const reviewImage = (id) => picture(`/v1/review/${id}/image`);

/** Where a picture of the gateway's can be shown from: no `src` could show the gateway a key. */
export async function picture(path) {
  const response = await asked([path, {}]);
  if (!response.ok) throw new Trouble("It can't be shown", "it may not be there any more");
  return URL.createObjectURL(await response.blob());
}

/** The labels of a model. */
export const reviewLabels = (model) => answered([`/v1/review/labels?${new URLSearchParams({ model })}`, { cache: "no-store" }]);

/** Says what an image shows. */
export const sayLabel = (id, what) => answered([`/v1/review/${id}`, asJson("POST", what)]);

/** Takes that back. */
export const takeBack = (id) => answered([`/v1/review/${id}`, { method: "DELETE" }]);

/** The versions of a model in the registry, and what was in service. */
export const modelVersions = (model) => answered([`/v1/models/${encodeURIComponent(model)}/versions`, { cache: "no-store" }]);
export const modelHistory = (model) => answered([`/v1/models/${encodeURIComponent(model)}/history`, { cache: "no-store" }]);

/** Puts a version into service, or goes back. */
export const promote = (model, what) => answered([`/v1/models/${encodeURIComponent(model)}/promote`, asJson("POST", what)]);
export const rollback = (model, what) => answered([`/v1/models/${encodeURIComponent(model)}/rollback`, asJson("POST", what)]);

const asJson = (method, body) => ({ method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** What an image shows; beside the answer, how long it took from here. */
export async function predict(file, { model, version }, signal) {
  let image;
  try {
    image = await file.arrayBuffer();
  } catch {
    throw new Trouble("Not a file that can be read", "It is a folder, or it has changed or gone since.");
  }
  const query = new URLSearchParams({ top_k: "5" });
  if (model) query.set("model", model);
  if (version) query.set("version", version);
  const began = performance.now();
  // The bytes say what it is; what the name ends in does not matter.
  const headers = { "content-type": "application/octet-stream" };
  const answer = await answered([`/predict?${query}`, { method: "POST", headers, body: image, signal }]);
  return { answer, roundTrip: performance.now() - began };
}
