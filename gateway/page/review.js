// Images that people should look at: one at a time, by keyboard alone.

import { reviewImage, reviewLabels, reviewPage, sayLabel, takeBack } from "./api.js";
import { byId, bytes, count, el, percent, repeat } from "./dom.js";
import { Filter } from "./filter.js";

const LOOK = 4000;
const AT_ONCE = 50;
// When so many are left of those that are here, more are asked for.
const LOW = 5;
const NAME = "mlaas-reviewer";
const WHY = {
  rejected: "the model says that it shows none of its classes",
  below: "the likeliest label is below what the worker was told to be sure of",
  margin: "two labels are nearly as likely",
  sampled: "drawn from all others",
};

let isShown = false;
let refresh = () => {};
let items = [];
let at = 0;
let next = null;
let left = 0;
let done = [];
let busy = false;
let asked = 0;
let filter;
let isReady = false;
const labels = new Map();

/** Puts the view together. */
export function start() {
  filter = new Filter(byId("review-filter"), byId("review-matches"), { choose, leave: focus });
  byId("review-by").value = remembered();
  byId("review-by").addEventListener("change", ({ target }) => remember(target.value));
  for (const id of ["review-model", "review-order"]) byId(id).addEventListener("change", () => load(true));
  byId("review-skip").addEventListener("click", skip);
  byId("review-undo").addEventListener("click", undo);
  byId("review-before").addEventListener("click", () => move(-1));
  byId("review-behind").addEventListener("click", () => move(1));
  document.addEventListener("keydown", pressed);
  refresh = repeat(LOOK, () => isShown && !busy && items.length === 0, () => load(false));
  buttons();
}

/** Whether it is the view that is shown. */
export function shown(is) {
  const comes = is && !isShown;
  isShown = is;
  if (comes) refresh();
}

const current = () => items[at];
const focus = () => byId("review-stage").focus();

/** Asks for images: anew, or for those behind the ones that are here. */
async function load(anew) {
  const mine = (asked += 1);
  if (anew) [items, at, next] = [[], 0, null];
  try {
    const page = await reviewPage({ model: byId("review-model").value, order: byId("review-order").value, limit: AT_ONCE, cursor: next });
    // Something else was asked for meanwhile.
    if (mine !== asked) return;
    const before = current();
    // One that was labelled a moment ago may still be among them.
    const known = new Set([...items, ...done].map(({ id }) => id));
    items.push(...page.items.filter(({ id }) => !known.has(id)));
    [next, left] = [page.next, page.total];
    models();
    isReady = true;
    // Whoever looks at one, or writes a label, is not disturbed.
    if (before && !anew) counts();
    else show();
  } catch (trouble) {
    if (mine === asked) fail(trouble);
  }
}

/** The models that there are images of. */
function models() {
  const select = byId("review-model");
  const known = new Set([...select.options].map(({ value }) => value));
  for (const { model } of items) {
    if (!known.has(model)) select.append(el("option", { value: model }, model));
    known.add(model);
  }
}

function counts() {
  buttons();
  byId("review-left").textContent = left === 0 ? "Nothing is left to look at." : `${count(left, "image")} left`;
}

function show() {
  const item = current();
  counts();
  byId("review-trouble").hidden = true;
  byId("review-desk").hidden = !item;
  byId("review-none").hidden = Boolean(item);
  if (!item) {
    byId("review-none").textContent = "There is no image to look at. Workers hand on what they are not sure of where review.enabled is true; this page looks for more.";
    return;
  }
  picture(item);
  const choices = item.predictions.slice(0, 5).map((prediction, place) => choice(prediction, place));
  byId("review-choices").replaceChildren(...choices);
  byId("review-why").textContent = `${item.model} ${item.version}: ${WHY[item.why] ?? item.why}. ${bytes(item.bytes)}.`;
  filter.clear();
  names(item.model);
  const behind = items[at + 1];
  // It is there when it is wanted. No more are kept: each may be large.
  if (behind) fetched(behind);
  for (const id of pictures.keys()) if (id !== item.id && id !== behind?.id) forget(id);
}

/** Where images are that were fetched, by their ids. */
const pictures = new Map();

function fetched({ id }) {
  if (!pictures.has(id)) pictures.set(id, reviewImage(id));
  // Who shows it says why it can't be shown.
  pictures.get(id).catch(() => {});
  return pictures.get(id);
}

function forget(id) {
  pictures.get(id)?.then(URL.revokeObjectURL, () => {});
  pictures.delete(id);
}

function picture(item) {
  const words = `Image to look at, request ${item.request_id}`;
  const image = el("img", { alt: words, decoding: "async", "data-id": item.id });
  image.addEventListener("load", () => {
    // What is as small as a net's input is shown pixel by pixel.
    if (Math.max(image.naturalWidth, image.naturalHeight) <= 64) image.classList.add("pixels");
  });
  const missing = () => {
    forget(item.id);
    if (current() === item) byId("review-picture").replaceChildren("The image can't be shown: it may not be on the topic any more.");
  };
  image.addEventListener("error", missing);
  byId("review-picture").replaceChildren(image);
  fetched(item).then((address) => { image.src = address; }, missing);
}

function choice({ label, index, probability }, place) {
  const bar = el("span", { class: "bar" });
  bar.style.width = `${Math.min(Math.max(probability, 0), 1) * 100}%`;
  const key = el("kbd", { "aria-hidden": "true" }, place === 0 ? "↵ 1" : String(place + 1));
  const words = el("span", { class: index === null ? "none" : undefined }, label);
  const keys = place === 0 ? "Enter 1" : String(place + 1);
  return el("li", {}, el("button", { type: "button", "aria-keyshortcuts": keys, onclick: () => choose(label, false) },
    bar, key, words, " ", el("span", { class: "number" }, percent(probability))));
}

/** All labels of a model, asked for once. */
async function names(model) {
  if (!labels.has(model)) {
    labels.set(model, []);
    try {
      labels.set(model, (await reviewLabels(model)).labels);
    } catch {
      // Those that are shown are known; more are asked for with the next image.
      labels.delete(model);
    }
  }
  if (current()?.model === model) filter.labels = labels.get(model) ?? [];
}

function choose(label, isNew) {
  const item = current();
  if (!item) return;
  say({ label, ...(isNew ? { new: true } : {}) }, item.predictions[0]?.label === label ? `${label} confirmed` : `Labelled ${label}`);
  if (isNew) labels.set(item.model, [...(labels.get(item.model) ?? []), label].sort());
}

const skip = () => say({ skip: true }, "Skipped");

/** Says what the image shows, and goes on to the next. */
async function say(what, words) {
  const item = current();
  if (!item || busy) return;
  busy = true;
  try {
    const by = byId("review-by").value.trim();
    await sayLabel(item.id, { ...what, ...(by ? { by } : {}) });
    done.push(item);
    items = items.filter((other) => other !== item);
    at = Math.min(at, Math.max(items.length - 1, 0));
    left = Math.max(left - 1, 0);
    busy = false;
    show();
    if (isShown) focus();
    tell(`${words}.`);
    if (next && items.length - at <= LOW) load(false);
    else if (items.length === 0) load(true);
  } catch (trouble) {
    fail(trouble);
  } finally {
    busy = false;
    buttons();
  }
}

/** Takes back what was said last. */
async function undo() {
  const item = done.at(-1);
  if (!item || busy) return;
  busy = true;
  try {
    await takeBack(item.id);
    done.pop();
    items.splice(at, 0, item);
    left += 1;
    busy = false;
    show();
    if (isShown) focus();
    tell("Taken back.");
  } catch (trouble) {
    fail(trouble);
  } finally {
    busy = false;
    buttons();
  }
}

function move(by) {
  if (busy || !items[at + by]) return;
  at += by;
  show();
  tell("");
  if (next && items.length - at <= LOW) load(false);
}

function tell(words) {
  const item = current();
  const first = item?.predictions.slice(0, 2).map(({ label, probability }) => `${label} ${percent(probability)}`).join(", ");
  byId("review-said").textContent = `${words} ${item ? `${count(left, "image")} left. Now: ${first}.` : "Nothing is left to look at."}`;
}

function fail(trouble) {
  const place = byId("review-trouble");
  place.replaceChildren(el("b", {}, trouble.title ?? "A fault of this page's"), trouble.detail ?? String(trouble));
  place.hidden = false;
  if (trouble.detail === undefined) console.error(trouble);
  if (!isReady) byId("review-none").hidden = true;
}

function buttons() {
  byId("review-skip").disabled = !current();
  byId("review-undo").disabled = done.length === 0;
  byId("review-before").disabled = !items[at - 1];
  byId("review-behind").disabled = !items[at + 1];
}

/** One key does one thing, unless somebody writes something, or means a button. */
function pressed(event) {
  const { key, target, ctrlKey, altKey, metaKey, defaultPrevented } = event;
  if (!isShown || ctrlKey || altKey || metaKey || defaultPrevented || !byId("review-keys").checked) return;
  if (target.closest("input, select, textarea, [contenteditable]")) return;
  const isButton = Boolean(target.closest("button, a"));
  const item = current();
  const act = () => {
    if (key === "Enter") return isButton || !item?.predictions[0] ? null : () => choose(item.predictions[0].label, false);
    if (key === " ") return null;
    if (/^[1-5]$/.test(key)) {
      const chosen = item?.predictions[Number(key) - 1];
      return chosen ? () => choose(chosen.label, false) : null;
    }
    if (key === "ArrowLeft") return () => move(-1);
    if (key === "ArrowRight") return () => move(1);
    if (key.toLowerCase() === "s") return skip;
    if (key.toLowerCase() === "u") return undo;
    // Any other letter begins a label; a slash begins one that begins with S or U.
    if (item && key === "/") return () => filter.begin("");
    if (item && /^\p{L}$/u.test(key)) return () => filter.begin(key);
    return null;
  };
  const does = act();
  if (!does) return;
  event.preventDefault();
  if (!event.repeat || key.startsWith("Arrow")) does();
}

function remembered() {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}

function remember(name) {
  try {
    localStorage.setItem(NAME, name);
  } catch {
    // It is asked for again.
  }
}
