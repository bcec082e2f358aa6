// What workers do, whoever asked them, as they publish it each second.

import { area, chart, lines } from "./chart.js";
import { byId, bytes, duration, el, figures, percent, renew, table, three } from "./dom.js";

let last = null;

/** Shows it; says whether there is any. */
export function show(minutes, view, trouble) {
  const workers = view?.workers ?? [];
  last = workers.length > 0 ? { minutes, ...view } : null;
  const why = trouble?.detail ?? view?.fault;
  byId("fleet-said").textContent = said(workers, why);
  byId("fleet").hidden = last === null;
  choices(workers, view?.models ?? []);
  if (!last) return false;
  const { now, total, lag } = view;
  byId("fleet-figures").replaceChildren(...figures([
    ["Requests a second", three(now.per_second)],
    ["p50", duration(now.p50_ms)],
    ["p90", duration(now.p90_ms)],
    ["p99", duration(now.p99_ms)],
    ["Average batch", now.batch === null ? "–" : three(now.batch)],
    ["Lag", lag === null ? "–" : String(lag)],
    ["Errors", total.failed ? `${total.failed} (${percent(total.failed / (total.failed + total.answered))})` : "0"],
  ]));
  kinds(total.errors);
  draw();
  renew(byId("fleet-tables"), [modelTable(view.models), workerTable(workers)]);
  return true;
}

function said(workers, why) {
  if (workers.length === 0) {
    const nothing = "No worker has published what it does: none runs, they are older, or metrics.snapshot_interval is 0s there.";
    return `${why ? `${why}. ` : ""}${nothing} What this gateway itself answered stands below.`;
  }
  const there = workers.filter(({ presence }) => presence === "works" || presence === "paused").length;
  return `${there === 1 ? "One worker" : `${there} workers`}, whoever asked, as they say each second.${why ? ` ${why}.` : ""}`;
}

/** What can be looked at apart, what is chosen included though it may be gone. */
function choices(workers, models) {
  const offer = (id, all, names) => {
    const select = byId(id);
    const chosen = select.value;
    // All that were ever there, so that what one was chosen from does not shrink to it.
    const known = new Set([...[...select.options].map(({ value }) => value), ...names].filter((name) => name !== ""));
    const wanted = ["", ...[...known].sort()];
    if (wanted.length === select.options.length) return;
    select.replaceChildren(...wanted.map((name) => el("option", { value: name }, name || all)));
    select.value = chosen;
  };
  offer("of-model", "all models", models.map(({ model }) => model));
  offer("of-worker", "all workers", workers.map(({ worker }) => worker));
}

function kinds(errors) {
  const words = Object.entries(errors).sort(([, a], [, b]) => b - a).map(([code, many]) => `${many} × ${code}`);
  byId("fleet-kinds").textContent = `Errors: ${words.join("; ")}`;
  byId("fleet-kinds").hidden = words.length === 0;
}

/** Draws the charts, as wide as there is room. */
export function draw() {
  if (!last) return;
  const { points, minutes, total } = last;
  const of = (key) => points.map((point) => point[key]);
  const most = (values) => Math.max(0, ...values.filter((value) => value !== null));
  const [rate, lag, batch] = [of("per_second"), of("lag"), of("batch")];
  byId("charts").replaceChildren(
    chart("Requests a second", ["requests", "errors"], `at most ${three(most(rate))} a second, ${total.failed} errors`, minutes, three,
      [area("requests", rate), area("errors", of("failed_per_second"))]),
    chart("Time in the worker", ["p50", "p99"], `half within ${duration(total.p50_ms)}, 99 of 100 within ${duration(total.p99_ms)}`, minutes, duration,
      [lines("p99", of("p99_ms")), lines("p50", of("p50_ms"))]),
    chart("Lag, in requests", ["lag"], `at most ${most(lag)} requests behind`, minutes, three, [lines("lag", lag)]),
    chart("Images a batch", ["batch"], `${total.batch === null ? "none" : three(total.batch)} on average`, minutes, three, [lines("batch", batch)]),
  );
}

const heads = [["Requests a second", "number"], ["p50", "number"], ["p99", "number"], ["Batch", "number"]];
const cells = (now) => [three(now.per_second), duration(now.p50_ms), duration(now.p99_ms), now.batch === null ? "–" : three(now.batch)];

function modelTable(models) {
  const rows = models.map(({ model, version, workers, waiting, now, total }) => [
    model || "(none found)",
    model ? String(version) : "–",
    ...cells(now),
    String(waiting),
    String(total.answered),
    errors(total),
    String(workers),
  ]);
  return table("Model versions", [["Model"], ["Version", "number"], ...heads, ["Waiting", "number"], ["Answered", "number"], ["Errors"], ["Workers", "number"]], rows);
}

const errors = ({ errors: all }) => Object.entries(all).map(([code, many]) => `${many} × ${code}`).join(", ") || "0";

function workerTable(workers) {
  const rows = workers.map((row) => [
    row.worker,
    el("span", { class: `mark ${row.presence}` }, row.presence, row.presence === "gone" ? ` for ${row.heard_s} s` : null),
    ...cells(row.now),
    row.lag === null ? "–" : String(row.lag),
    String(row.in_flight),
    percent(row.cores),
    row.memory_bytes ? bytes(row.memory_bytes) : "–",
    String(row.partitions),
  ]);
  return table("Workers", [["Worker"], ["State", "when"], ...heads, ["Lag", "number"], ["Under way", "number"], ["Processor", "number"], ["Memory", "number"], ["Partitions", "number"]], rows);
}
