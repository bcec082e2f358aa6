// Small charts in SVG: a scale on the left, time from left to right, areas and lines over it.

import { byId, el } from "./dom.js";

const HEIGHT = 170;
const [LEFT, RIGHT, TOP, BOTTOM] = [58, 6, 8, 20];
const SPACE = "http://www.w3.org/2000/svg";

function svg(name, attributes, ...children) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Values as an area from the bottom. */
export const area = (name, values) => ({ name, values, draw: drawArea });

/** Values as a line, broken where there are none. */
export const lines = (name, values) => ({ name, values, draw: drawLine });

/** A figure: a title, the names of its series, in words what it shows, and how values are said. */
export function chart(title, names, words, minutes, say, series) {
  // Either of the two places that charts are in may be hidden.
  const room = byId("charts").clientWidth || byId("own-charts").clientWidth;
  // As wide as a column of the page's grid, so that letters keep their form.
  const width = Math.max(240, (room >= 850 ? (room - 13) / 2 : room) - 26);
  const top = scale(Math.max(0, ...series.flatMap(({ values }) => values.filter((value) => value !== null))));
  const x = (at, count) => LEFT + ((width - LEFT - RIGHT) * at) / Math.max(count - 1, 1);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${title}, the last ${minutes} minutes: ${words}` });
  for (const value of [0, top / 2, top]) {
    drawing.append(
      svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, say(value)));
  }
  drawing.append(
    svg("text", { x: LEFT, y: HEIGHT - 4 }, `${minutes} min ago`),
    svg("text", { x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end" }, "now"));
  for (const one of series) drawing.append(...one.draw(one, x, y));
  const key = names.map((name) => el("span", { class: `key ${name}` }, name));
  return el("figure", {}, el("figcaption", {}, el("b", {}, title), ...key), drawing);
}

/** The next of 1, 2, 5, 10, … */
function scale(most) {
  if (most <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return power * [1, 2, 5, 10].find((step) => step * power >= most * 0.999);
}

function drawArea({ name, values }, x, y) {
  if (values.every((value) => !value)) return [];
  const count = values.length;
  const edge = values.map((value, at) => `${x(at, count).toFixed(1)},${y(value).toFixed(1)}`);
  const path = `M${x(0, count)},${y(0)}L${edge.join("L")}L${x(count - 1, count)},${y(0)}Z`;
  return [svg("path", { class: `area ${name}`, d: path })];
}

function drawLine({ name, values }, x, y) {
  const count = values.length;
  let path = "";
  const dots = [];
  values.forEach((value, at) => {
    if (value === null) return;
    const place = `${x(at, count).toFixed(1)},${y(value).toFixed(1)}`;
    const [before, after] = [values[at - 1] ?? null, values[at + 1] ?? null];
    path += (before === null ? "M" : "L") + place;
    // Alone it would be a line of no length.
    if (before === null && after === null) dots.push(svg("circle", { class: `dot ${name}`, cx: x(at, count), cy: y(value), r: 2.5 }));
  });
  return path ? [svg("path", { class: `line ${name}`, d: path }), ...dots] : [];
}
