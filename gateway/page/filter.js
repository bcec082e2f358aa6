// A field that finds a label among all: a combobox with a list (WAI-ARIA authoring practices).

import { el } from "./dom.js";

const MOST = 8;

export class Filter {
  /** `does.choose(label, isNew)` is called with what was chosen, `does.leave()` when it is left without. */
  constructor(input, list, does) {
    Object.assign(this, { input, list, does, labels: [], found: [], at: 0 });
    input.addEventListener("input", () => this.look());
    input.addEventListener("focus", () => this.look());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (event) => this.pressed(event));
  }

  /** Goes there with what was typed first. */
  begin(text) {
    this.input.value = text;
    this.input.focus();
    this.look();
  }

  clear() {
    this.input.value = "";
    this.close();
  }

  close() {
    this.found = [];
    this.draw();
  }

  /** Labels that begin so before those that hold it, and what is written as a label of its own. */
  look() {
    const text = this.input.value.trim();
    const wanted = text.toLowerCase();
    const holds = this.labels.filter((label) => label.toLowerCase().includes(wanted));
    holds.sort((a, b) => Number(b.toLowerCase().startsWith(wanted)) - Number(a.toLowerCase().startsWith(wanted)));
    this.found = holds.slice(0, MOST).map((label) => ({ label, isNew: false }));
    if (text && !this.labels.includes(text)) this.found.push({ label: text, isNew: true });
    this.at = 0;
    this.draw();
  }

  draw() {
    const options = this.found.map(({ label, isNew }, place) =>
      el("li", {
        id: `${this.list.id}-${place}`,
        role: "option",
        "aria-selected": String(place === this.at),
        // Before the field loses the focus, and the list goes.
        onmousedown: (event) => {
          event.preventDefault();
          this.choose(place);
        },
      }, label, isNew ? el("span", { class: "hint" }, " – a new label") : null));
    this.list.replaceChildren(...options);
    this.list.hidden = options.length === 0;
    this.input.setAttribute("aria-expanded", String(options.length > 0));
    if (options.length > 0) this.input.setAttribute("aria-activedescendant", options[this.at].id);
    else this.input.removeAttribute("aria-activedescendant");
  }

  choose(place) {
    const chosen = this.found[place];
    if (!chosen) return;
    this.clear();
    this.does.choose(chosen.label, chosen.isNew);
  }

  pressed(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && this.found.length > 0) {
      this.at = (this.at + step + this.found.length) % this.found.length;
      this.draw();
    } else if (event.key === "Enter") {
      this.choose(this.at);
    } else if (event.key === "Escape") {
      this.clear();
      this.does.leave();
    } else {
      return;
    }
    event.preventDefault();
  }
}
