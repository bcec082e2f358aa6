// What is known of the service: asked every few seconds, told to whoever shows some of it.

import { workers } from "./api.js";
import { byId, repeat } from "./dom.js";

const EVERY = 3000;

const shown = new Set();

/** As it was said last. */
export const known = { announcements: [], max_image_bytes: null, timeout_ms: null, gateway: "", fault: null, trouble: null, asked: false };

/** Calls `show` whenever something is known anew. */
export function watch(show) {
  shown.add(show);
  if (known.asked) show();
}

/** The versions that are served: by model, then by version, what each worker says of it. */
export function served() {
  const models = new Map();
  for (const word of known.announcements) {
    if (!models.has(word.model)) models.set(word.model, new Map());
    const versions = models.get(word.model);
    if (!versions.has(word.version)) versions.set(word.version, []);
    versions.get(word.version).push(word);
  }
  return models;
}

/** Asks now. */
export let refresh = () => {};

/** Begins to ask. */
export function start() {
  refresh = repeat(EVERY, () => true, async () => {
    try {
      Object.assign(known, await workers(), { trouble: null });
    } catch (trouble) {
      Object.assign(known, { trouble, announcements: [] });
    }
    known.asked = true;
    banner();
    for (const show of shown) show();
  });
}

/** What keeps images from being answered now, in a sentence; none where nothing does. */
export function obstacle() {
  if (known.trouble) return known.trouble.detail;
  if (known.fault) return `Kafka: ${known.fault}.`;
  if (known.announcements.length === 0) return "No worker serves a model now. Images wait until one comes, or their time is over.";
  return null;
}

function banner() {
  const words = obstacle() ?? "";
  const place = byId("banner");
  // Said once, not at each look.
  if (place.textContent !== words) place.textContent = words;
  place.hidden = words === "";
  byId("where").textContent = known.gateway ? `Gateway ${known.gateway}` : "";
}
