// Who serves what, by what workers say.

import { byId, bytes, count, el, table } from "./dom.js";
import { known, served, watch } from "./service.js";
import { refresh, section } from "./versions.js";

/** Puts the view together. */
export function start() {
  watch(() => {
    // Drawn anew only where something is new: whoever reads or selects something is not disturbed.
    const words = JSON.stringify(known.announcements.map(({ announced_at: _, ...word }) => word));
    const place = byId("models");
    if (place.dataset.words === words) return;
    place.dataset.words = words;
    place.replaceChildren(...tables());
  });
}

/** Whether it is the view that is shown. */
export function shown(is) {
  if (is) refresh();
}

function tables() {
  const models = [...served()];
  if (models.length === 0) return [el("p", {}, "No worker has said that it serves anything.")];
  const skipped = notServed();
  return [...models.flatMap(([name, versions]) => [ofModel(name, versions), section(name)]), ...(skipped ? [skipped] : [])];
}

function ofModel(name, versions) {
  const words = [...versions.values()].flat();
  const isDefault = words.some((word) => word.default);
  const caption = el("span", {}, name, isDefault ? el("span", { class: "hint" }, " – for requests that name no model") : null);
  const shadows = words.some((word) => word.shadow_percent !== undefined);
  const heads = [
    ["Version"],
    ["State"],
    ["Share", "number"],
    ...(shadows ? [["Shadow", "number"]] : []),
    ["Labels", "number"],
    ["Memory each", "number"],
    ["Net"],
    ["Digest", "code"],
    ["Workers", "wide"],
  ];
  const rows = [...versions].map(([version, said]) => [
    String(version),
    states(said),
    // Without a word on it a version answers whatever names it, and whatever names none where it is in service.
    share(said, "traffic_percent"),
    ...(shadows ? [share(said, "shadow_percent")] : []),
    distinct(said.map((word) => word.labels)),
    distinct(said.map((word) => (word.memory_bytes ? bytes(word.memory_bytes) : "–"))),
    distinct(said.map((word) => word.architecture)),
    digests(said),
    `${said.length}: ${said.map((word) => word.worker).join(", ")}`,
  ]);
  return table(caption, heads, rows);
}

function states(said) {
  const loading = said.filter((word) => word.loading).length;
  const marks = el("span", {});
  if (loading < said.length) marks.append(mark("ready", said.length - loading, said.length));
  if (loading > 0) marks.append(" ", mark("loading", loading, said.length));
  return marks;
}

const mark = (state, many, all) => el("span", { class: `mark ${state}` }, many === all ? state : `${state} ${many} of ${all}`);

const share = (said, key) => distinct(said.map((word) => (word[key] === undefined ? "–" : `${word[key]} %`)));

const distinct = (values) => [...new Set(values)].join(", ");

function digests(said) {
  const all = [...new Set(said.map((word) => word.digest))];
  const shown = all.map((digest) => el("span", { title: digest }, digest.replace("sha256:", "").slice(0, 12), " "));
  // One version is one thing: workers that read it from folders of their own may have got different ones.
  if (all.length > 1) shown.push(el("span", { class: "mark error" }, "workers differ"));
  return el("span", {}, ...shown);
}

function notServed() {
  // Each announcement of a worker's has all that it skipped.
  const rows = new Map();
  for (const { worker, skipped = [] } of known.announcements) {
    for (const { model, version, reason } of skipped) {
      const key = JSON.stringify([model, version, reason]);
      if (!rows.has(key)) rows.set(key, { model, version, reason, workers: new Set() });
      rows.get(key).workers.add(worker);
    }
  }
  if (rows.size === 0) return null;
  const heads = [["Model"], ["Version", "number"], ["Why", "wide"], ["Workers"]];
  const cells = [...rows.values()].map(({ model, version, reason, workers }) => [model, String(version ?? "–"), reason, [...workers].join(", ")]);
  return table(`Found and not served (${count(rows.size, "model version")})`, heads, cells);
}
