// What this gateway answered lately, and the last images of it.

import { picture as fetched } from "./api.js";
import { area, chart, lines } from "./chart.js";
import { byId, duration, el, figures, percent, renew, table, three } from "./dom.js";

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

let last = null;

/** Shows it, with charts where there are no better ones. */
export function show(minutes, view, trouble, charts) {
  last = view ? { minutes, charts, ...view } : null;
  if (!last) {
    byId("figures").replaceChildren(el("div", {}, el("dt", {}, trouble.title), el("dd", { class: "small" }, trouble.detail)));
    byId("kinds").hidden = true;
    byId("own-charts").replaceChildren();
    byId("recent").replaceChildren();
    return;
  }
  told(last);
  draw();
  images(last.images);
}

function told({ requests_per_second: rate, total, errors, in_flight: inFlight, max_in_flight: most }) {
  const kinds = Object.entries(errors).map(([kind, many]) => `${many} × ${KINDS[kind] ? `${kind}, ${KINDS[kind]}` : kind}`);
  const share = total.requests ? total.errors / total.requests : 0;
  byId("kinds").textContent = `Errors: ${kinds.join("; ")}`;
  byId("kinds").hidden = kinds.length === 0;
  byId("figures").replaceChildren(...figures([
    ["Requests a second", three(rate)],
    ["Requests", String(total.requests)],
    ["Errors", total.errors ? `${total.errors} (${percent(share)})` : "0"],
    ["p50", duration(total.p50_ms)],
    ["p95", duration(total.p95_ms)],
    ["p99", duration(total.p99_ms)],
    ["Images under way", `${inFlight} of ${most}`],
  ]));
}

/** Draws the charts, as wide as there is room. */
export function draw() {
  if (!last?.charts) {
    byId("own-charts").replaceChildren();
    return;
  }
  const { points, step_s: step, minutes, total } = last;
  const per = (many) => many / step;
  const rate = points.map((point) => per(point.requests));
  const wrong = points.map((point) => per(point.errors));
  const most = Math.max(...rate, 0);
  const of = (key) => points.map((point) => point[key]);
  byId("own-charts").replaceChildren(
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
  const pictures = list.some((seen) => seen.thumbnail);
  const heads = [["At", "when"], ...(pictures ? [["Image"]] : []), ["What it shows", "wide"], ["Probability", "number"], ["Model", "when"], ["Took", "number"], ["Worker"]];
  const rows = list.map((seen) => [
    new Date(seen.at).toLocaleTimeString(),
    ...(pictures ? [picture(seen)] : []),
    seen.code === "OK" ? `${seen.label ?? "–"}${seen.is_class ? "" : " (none of the classes)"}` : wrong(seen),
    seen.probability === null ? "–" : percent(seen.probability),
    seen.model ? `${seen.model} ${seen.version}` : "–",
    duration(seen.took_ms),
    seen.worker || "–",
  ]);
  renew(byId("recent"), [table("Recent images, the newest first", heads, rows)]);
}

// Kept from look to look, so that it does not flicker.
const pictures = new Map();

function picture({ thumbnail, label }) {
  if (!thumbnail) return "";
  if (!pictures.has(thumbnail)) {
    if (pictures.size > 100) {
      const [[oldest, image]] = pictures;
      pictures.delete(oldest);
      URL.revokeObjectURL(image.src);
    }
    const image = el("img", { class: "thumbnail", alt: label ? `Image labelled ${label}` : "Image without a label" });
    pictures.set(thumbnail, image);
    fetched(thumbnail).then((address) => { image.src = address; }, () => {});
  }
  return pictures.get(thumbnail);
}

const wrong = ({ code, message }) => el("span", {}, el("span", { class: "mark error" }, code), " ", message ?? "");
