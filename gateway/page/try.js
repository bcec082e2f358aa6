// Trying images: where they come from, which go when, and what is said of them.

import { predict } from "./api.js";
import { Card } from "./card.js";
import { byId, bytes, count, el } from "./dom.js";
import { known, refresh, served, watch } from "./service.js";

/** Requests under way at once: a gateway is there for others, too. */
const AT_ONCE = 4;
/** Cards that stay; the oldest that are done go. */
const MOST = 100;

const EXAMPLES = [
  { file: "scarlet_macaw.webp", name: "A macaw", model: "bird" },
  { file: "coat4.png", name: "A coat, for who names birds", model: "bird" },
  { file: "ankle_boot9.png", name: "An ankle boot", model: "fashion-mnist" },
  { file: "sandal5.png", name: "A sandal", model: "fashion-mnist" },
];

const waiting = [];
let underWay = 0;
let cards = [];

/** Puts the view together. */
export function start() {
  for (const input of [byId("pick"), byId("shoot")]) {
    input.addEventListener("change", () => {
      take(input.files);
      // So that the same file can be chosen again.
      input.value = "";
    });
  }
  byId("model").addEventListener("change", choosers);
  byId("clear").addEventListener("click", clear);
  byId("examples").append(...EXAMPLES.map(example));
  dropping();
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) {
      event.preventDefault();
      take(event.clipboardData.files);
    }
  });
  watch(choosers);
  watch(() => {
    byId("most").textContent = known.max_image_bytes ? `PNG, JPEG, WebP, GIF or BMP, up to ${bytes(known.max_image_bytes)} each` : "";
  });
}

function dropping() {
  const over = (event, is) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return false;
    event.preventDefault();
    document.body.classList.toggle("over", is);
    return true;
  };
  document.addEventListener("dragover", (event) => over(event, true));
  document.addEventListener("dragleave", (event) => event.relatedTarget || over(event, false));
  document.addEventListener("drop", (event) => over(event, false) && take(event.dataTransfer.files));
}

function example({ file, name, model }) {
  const picture = el("img", { src: `/ui/${file}`, alt: "", width: "52", height: "52", class: file.endsWith(".png") ? "pixels" : undefined });
  const choose = async () => {
    if (served().has(model)) {
      byId("model").value = model;
      choosers();
    }
    const response = await fetch(picture.src).catch(() => null);
    // Where the gateway is gone, so it is said of the image.
    const blob = response?.ok ? await response.blob() : new Blob(["?"]);
    take([new File([blob], file, { type: blob.type })]);
  };
  return el("button", { type: "button", class: "example", title: name, "aria-label": `Example: ${name}`, onclick: choose }, picture);
}

/** Fills the choosers with what is served, and keeps what is chosen as long as it is there. */
function choosers() {
  const models = served();
  const standard = known.announcements.find((word) => word.default)?.model;
  const model = byId("model");
  fill(model, [["", standard ? `default (${standard})` : "default"], ...[...models.keys()].map((name) => [name, name])]);
  const versions = models.get(model.value || standard) ?? new Map();
  const state = (words) => (words.some((word) => !word.loading) ? "" : ", loading");
  const choices = [...versions].map(([version, words]) => [String(version), `${version}${state(words)}`]);
  // A version alone does not say of which model.
  fill(byId("version"), [["", "in service"], ...(model.value ? choices : [])]);
}

function fill(select, choices) {
  const words = JSON.stringify(choices);
  if (select.dataset.choices === words) return;
  const chosen = select.value;
  select.dataset.choices = words;
  select.replaceChildren(...choices.map(([value, name]) => el("option", { value }, name)));
  select.value = choices.some(([value]) => value === chosen) ? chosen : "";
}

function take(files) {
  const fresh = [...files].slice(0, MOST).map((file) => new Card(file, { ask, stop, remove }));
  byId("cards").prepend(...fresh.map((card) => card.element));
  cards = [...fresh, ...cards];
  for (const old of cards.slice(MOST).filter((card) => card.isDone)) remove(old);
  byId("tools").hidden = cards.length === 0;
  if (files.length > MOST) say(`${files.length} were given: the first ${MOST} are taken.`);
  fresh.forEach(ask);
}

/** Lets a card wait for its turn. */
function ask(card) {
  const most = known.max_image_bytes;
  if (most && card.file.size > most) {
    card.fail({ title: "Too large", detail: `It has ${bytes(card.file.size)}, and an image may have up to ${bytes(most)}.`, code: "" });
    told(card);
    return;
  }
  card.wait();
  waiting.push(card);
  go();
}

function go() {
  while (underWay < AT_ONCE && waiting.length > 0) send(waiting.shift());
}

async function send(card) {
  underWay += 1;
  const stopping = new AbortController();
  card.send(stopping);
  try {
    const { answer, roundTrip } = await predict(card.file, { model: byId("model").value, version: byId("version").value }, stopping.signal);
    card.answer(answer, roundTrip);
  } catch (trouble) {
    if (trouble.detail === undefined) console.error(trouble);
    card.fail(trouble.detail === undefined ? { title: "A fault of this page's", detail: String(trouble), code: "" } : trouble);
    refresh();
  }
  underWay -= 1;
  told(card);
  go();
}

function stop(card) {
  const at = waiting.indexOf(card);
  if (at >= 0) {
    waiting.splice(at, 1);
    card.fail({ title: "Stopped", detail: "It was not sent.", code: "" });
  }
  card.stopping?.abort();
}

function remove(card) {
  stop(card);
  const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
  const focused = card.element.contains(document.activeElement);
  card.end();
  cards = cards.filter((other) => other !== card);
  byId("tools").hidden = cards.length === 0;
  // Whoever came here by keyboard goes on from here.
  if (focused) (next?.querySelector("button") ?? byId("pick")).focus();
}

function clear() {
  for (const card of [...cards]) remove(card);
  say("Cleared.");
  byId("pick").focus();
}

function told(card) {
  const open = waiting.length + underWay;
  if (cards.includes(card)) say(`${card.file.name}: ${card.words}.${open ? ` ${count(open, "image")} to go.` : ""}`);
}

function say(words) {
  byId("said").textContent = words;
}
