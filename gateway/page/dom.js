// Making elements, and saying numbers. Whatever comes from outside becomes text nodes and attributes, never markup.

/** An element with attributes, properties where they begin with a dot, listeners where with `on`, and children. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith(".")) element[key.slice(1)] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** The element of that id. */
export const byId = (id) => document.getElementById(id);

/** A list of definitions: pairs of a term and what it is. */
export function pairs(attributes, entries) {
  return el("dl", attributes, ...entries.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))));
}

/** Figures with what each is: the children of a list of definitions. */
export const figures = (entries) => entries.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)));

/** Puts elements in the place of others: where each was scrolled to it stays, and who is on it by keyboard too. */
export function renew(place, elements) {
  const old = [...place.children].map((element) => [element.scrollLeft, element === document.activeElement]);
  place.replaceChildren(...elements);
  elements.forEach((element, at) => {
    const [left, focused] = old[at] ?? [0, false];
    element.scrollLeft = left;
    if (focused) element.focus();
  });
}

/** A table that scrolls by itself where it is wider than the page. */
export function table(caption, heads, rows) {
  const head = ([name, kind]) => el("th", { scope: "col", class: kind }, name);
  const row = (cells) => el("tr", {}, ...cells.map((cell, at) => el("td", { class: heads[at][1] }, cell)));
  const name = typeof caption === "string" ? caption : caption.textContent;
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name },
    el("table", {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, ...heads.map(head))),
      el("tbody", {}, ...rows.map(row))));
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** As `12 MB`. */
export function bytes(count) {
  let unit = 0;
  let value = count;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${three(value)} ${UNITS[unit]}`;
}

/** As `8.3 ms` or `1.2 s`. */
export function duration(millis) {
  if (millis === null || millis === undefined) return "–";
  return millis < 999.5 ? `${three(millis)} ms` : `${three(millis / 1000)} s`;
}

/** As `99.2 %`. */
export function percent(part) {
  const value = part * 100;
  if (value > 0 && value < 0.1) return "< 0.1 %";
  return part < 1 && value >= 99.95 ? "> 99.9 %" : `${value.toFixed(1)} %`;
}

/** Three digits, no zeros behind them. */
export function three(value) {
  if (value >= 100) return String(Math.round(value));
  return String(Number(value.toFixed(value >= 10 ? 1 : 2)));
}

/** One or several. */
export const count = (many, one, several = `${one}s`) => `${many} ${many === 1 ? one : several}`;

/** Runs `work` now and again that long after it ended, while `wanted` says so and somebody looks. */
export function repeat(millis, wanted, work) {
  let timer;
  const again = async () => {
    clearTimeout(timer);
    if (wanted() && !document.hidden) await work();
    clearTimeout(timer);
    timer = setTimeout(again, millis);
  };
  document.addEventListener("visibilitychange", () => document.hidden || again());
  again();
  return again;
}
