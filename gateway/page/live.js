// What this gateway answered lately.

import { activity } from "./api.js";
import { area, chart, lines } from "./chart.js";
import { byId, duration, el, percent, repeat, table, three } from "./dom.js";

const EVERY = 2000;

// What an error's status means; others stand as they are.
const KINDS = {
  400: "not understood",
  404: "not served",
  408: "sent too slowly",
  413: "too large",
  415: "not taken",
  422: "not readable",
  429: "too much under way",
  500: "fault",
  503: "not possible then",
  504: "no answer in time",
};

let isShown = false;
let refresh = () => {};
let last = null;

/** Puts the view together. */
export function start() {
  refresh = repeat(EVERY, () => isShown, look);
  byId("minutes").addEventListener("change", refresh);
  new ResizeObserver(() => last && draw(last)).observe(byId("charts"));
}

/** Whether it is the view that is shown. */
export function shown(is) {
  const comes = is && !isShown;
  isShown = is;
  if (comes) refresh();
}

async function look() {
  const minutes = Number(byId("minutes").value);
  try {
    last = { minutes, ...(await activity(minutes)) };
  } catch (trouble) {
    last = null;
    byId("figures").replaceChildren(el("div", {}, el("dt", {}, trouble.title), el("dd", { class: "small" }, trouble.detail)));
    byId("kinds").hidden = true;
    byId("charts").replaceChildren();
    byId("recent").replaceChildren();
    return;
  }
  figures(last);
  draw(last);
  images(last.images);
}

function figures({ requests_per_second: rate, total, errors, in_flight: inFlight, max_in_flight: most }) {
  const kinds = Object.entries(errors).map(([kind, many]) => `${many} × ${KINDS[kind] ? `${kind}, ${KINDS[kind]}` : kind}`);
  const share = total.requests ? total.errors / total.requests : 0;
  const entries = [
    ["Requests a second", three(rate)],
    ["Requests", String(total.requests)],
    ["Errors", total.errors ? `${total.errors} (${percent(share)})` : "0"],
    ["p50", duration(total.p50_ms)],
    ["p95", duration(total.p95_ms)],
    ["p99", duration(total.p99_ms)],
    ["Images under way", `${inFlight} of ${most}`],
  ].map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value)));
  byId("kinds").textContent = `Errors: ${kinds.join("; ")}`;
  byId("kinds").hidden = kinds.length === 0;
  byId("figures").replaceChildren(...entries);
}

function draw({ points, step_s: step, minutes, total }) {
  const per = (many) => many / step;
  const rate = points.map((point) => per(point.requests));
  const wrong = points.map((point) => per(point.errors));
  const most = Math.max(...rate, 0);
  const of = (key) => points.map((point) => point[key]);
  byId("charts").replaceChildren(
    chart("Requests a second", ["requests", "errors"], `at most ${three(most)} a second, ${total.errors} errors`, minutes, three,
      [area("requests", rate), area("errors", wrong)]),
    chart("Time to the answer", ["p50", "p95", "p99"], `half within ${duration(total.p50_ms)}, 99 of 100 within ${duration(total.p99_ms)}`, minutes, duration,
      [lines("p99", of("p99_ms")), lines("p95", of("p95_ms")), lines("p50", of("p50_ms"))]),
  );
}

function images(list) {
  if (list.length === 0) {
    byId("recent").replaceChildren(el("p", { class: "hint" }, "None since the gateway started."));
    return;
  }
  const heads = [["At", "when"], ["What it shows", "wide"], ["Probability", "number"], ["Model", "when"], ["Took", "number"], ["Worker"]];
  const rows = list.map((seen) => [
    new Date(seen.at).toLocaleTimeString(),
    seen.code === "OK" ? `${seen.label ?? "–"}${seen.is_class ? "" : " (none of the classes)"}` : wrong(seen),
    seen.probability === null ? "–" : percent(seen.probability),
    seen.model ? `${seen.model} ${seen.version}` : "–",
    duration(seen.took_ms),
    seen.worker || "–",
  ]);
  const [old] = byId("recent").children;
  // Where it was scrolled to it stays, and who is on it by keyboard too.
  const [left, focused] = [old?.scrollLeft ?? 0, document.activeElement === old];
  const next = table("Recent images, the newest first", heads, rows);
  byId("recent").replaceChildren(next);
  next.scrollLeft = left;
  if (focused) next.focus();
}

const wrong = ({ code, message }) => el("span", {}, el("span", { class: "mark error" }, code), " ", message ?? "");
