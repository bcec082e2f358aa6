// One image: its picture, and what is said of it.

import { bytes, duration, el, pairs, percent } from "./dom.js";
import { obstacle } from "./service.js";

export class Card {
  /** `does` has what its buttons do: ask, stop, remove. */
  constructor(file, does) {
    this.file = file;
    this.isDone = false;
    this.words = "";
    this.stopping = null;
    this.url = URL.createObjectURL(file);
    this.size = el("span", { class: "hint" }, bytes(file.size));
    this.body = el("div", {});
    const named = (words, what, act) => el("button", { type: "button", "aria-label": `${what} ${file.name}`, onclick: () => act(this) }, words);
    this.again = named("Ask again", "Ask again about", does.ask);
    this.stop = named("Stop", "Stop asking about", does.stop);
    const buttons = el("div", { class: "row" }, this.again, this.stop, named("Remove", "Remove", does.remove));
    this.element = el("li", { class: "card" },
      this.picture(),
      el("div", { class: "about" }, el("div", {}, el("h3", {}, file.name), this.size), this.body, buttons));
  }

  picture() {
    const box = el("div", { class: "picture" });
    const image = el("img", { src: this.url, alt: this.file.name, decoding: "async" });
    image.addEventListener("load", () => {
      const { naturalWidth: width, naturalHeight: height } = image;
      // What is as small as a net's input is shown pixel by pixel.
      if (Math.max(width, height) <= 64) image.classList.add("pixels");
      this.size.textContent = `${bytes(this.file.size)}, ${width} × ${height}`;
    });
    image.addEventListener("error", () => box.replaceChildren("no preview"));
    box.append(image);
    return box;
  }

  /** It waits for its turn. */
  wait() {
    this.state(false, el("p", { class: "waiting" }, "Waits for its turn"));
  }

  /** It is on its way. */
  send(stopping) {
    this.stopping = stopping;
    const words = el("p", { class: "waiting" }, "Asked");
    this.state(false, words);
    const began = performance.now();
    this.timer = setInterval(() => {
      const seconds = Math.round((performance.now() - began) / 1000);
      words.textContent = `Asked ${seconds} s ago. ${obstacle() ?? ""}`;
    }, 1000);
  }

  /** There are labels. */
  answer({ model, predictions, timings_us: times, batch_size: batch, worker }, roundTrip) {
    const [first] = predictions;
    this.words = first ? `${first.label}, ${percent(first.probability)}` : "no label";
    const facts = [
      ["decode", duration(times.decode / 1000)],
      ["queue", duration(times.queue / 1000)],
      ["inference", duration(times.inference / 1000)],
      ["in worker", duration(times.total / 1000)],
      ["round trip", duration(roundTrip)],
    ];
    const who = `${model.name} ${model.version}, by ${worker}${batch > 1 ? `, ${batch} images at once` : ""}`;
    this.state(true,
      el("ol", { class: "labels", "aria-label": "Labels" }, ...predictions.map(label)),
      el("p", { class: "hint" , title: model.digest }, who),
      pairs({ class: "times" }, facts));
  }

  /** There are none. */
  fail({ title, detail, code }) {
    this.words = `${title}. ${detail}`;
    this.state(true, el("p", { class: "trouble" }, el("b", {}, title), detail, code ? el("span", { class: "hint" }, ` (${code})`) : null));
    this.element.classList.add("bad");
  }

  state(isDone, ...body) {
    clearInterval(this.timer);
    this.isDone = isDone;
    this.body.replaceChildren(...body);
    this.element.classList.remove("bad");
    this.element.setAttribute("aria-busy", String(!isDone));
    const focused = [this.again, this.stop].includes(document.activeElement);
    this.again.hidden = !isDone;
    this.stop.hidden = isDone;
    // The button that was pressed has made way for the other.
    if (focused) (isDone ? this.again : this.stop).focus();
    if (isDone) this.stopping = null;
  }

  /** It goes. */
  end() {
    clearInterval(this.timer);
    URL.revokeObjectURL(this.url);
    this.element.remove();
  }
}

function label({ label: name, index, probability }) {
  const bar = el("span", { class: "bar" });
  bar.style.width = `${Math.min(Math.max(probability, 0), 1) * 100}%`;
  // Such an answer has no class of its own: it says that the image shows none of them.
  const isNone = index === null;
  const words = el("span", { class: isNone ? "none" : undefined }, name, isNone ? el("span", { class: "hint" }, " (none of the classes)") : null);
  return el("li", {}, bar, words, el("span", { class: "number" }, percent(probability)));
}
