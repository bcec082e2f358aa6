// Which versions of a model there are, which one is in service, and putting another one there: where the gateway knows the registry.

import { modelHistory, modelVersions, promote, rollback } from "./api.js";
import { byId, el, percent, table, three } from "./dom.js";

const NAME = "mlaas-reviewer";

/** The part of the view that is about one model; it fills itself. */
export function section(model) {
  const place = el("div", { class: "versions", "data-model": model });
  draw(model, place);
  return place;
}

/** Asks anew: others promote too. */
export function refresh() {
  for (const place of document.querySelectorAll(".versions")) draw(place.dataset.model, place);
}

async function draw(model, place, said = null) {
  let known;
  let changes;
  try {
    [known, { changes }] = await Promise.all([modelVersions(model), modelHistory(model)]);
  } catch (trouble) {
    // Where the gateway does not know the registry there is nothing to show: workers' own words stand above.
    if (trouble.code?.startsWith("501")) place.replaceChildren(el("p", { class: "hint" }, "To promote and roll back here, set models.root of the gateway."));
    else place.replaceChildren(el("p", { class: "trouble" }, el("b", {}, trouble.title ?? "A fault of this page's"), trouble.detail ?? String(trouble)));
    return;
  }
  const again = (words) => draw(model, place, words);
  place.replaceChildren(
    versionsTable(model, known, again),
    el("p", { class: "hint", role: "status" }, said ?? ""),
    ...(changes.length > 0 ? [historyTable(model, changes)] : []));
}

function versionsTable(model, known, again) {
  const heads = [["Version"], ["State"], ["Measured", "wide"], ["Digest", "code"], ["Change"]];
  const rows = known.versions.map((version) => [
    String(version.version),
    state(known, version.version),
    version.fault ? el("span", { class: "mark error", title: version.fault }, "can't be read") : metrics(version.metrics),
    version.digest ? el("span", { title: version.digest }, version.digest.replace("sha256:", "").slice(0, 12)) : "–",
    buttons(model, known, version, again),
  ]);
  return table(`Versions of ${model} in the registry`, heads, rows);
}

function state({ production, canary, shadow }, version) {
  const mark = (words, kind) => el("span", { class: `mark ${kind}` }, words);
  if (version === production) return mark(canary ? `in service, ${100 - canary.percent} %` : "in service", "ready");
  if (version === canary?.version) return mark(`canary, ${canary.percent} %`, "loading");
  if (version === shadow?.version) return mark(`shadow of ${shadow.percent} %`, "loading");
  return "–";
}

function metrics(all) {
  const figure = ({ name, value }) => `${name} ${value >= 0 && value <= 1 ? percent(value) : three(value)}`;
  return el("span", { title: all.map(({ name, data, command }) => `${name}: ${data}; ${command}`).join("\n") }, all.slice(0, 3).map(figure).join(", ") || "–");
}

function buttons(model, known, { version, fault }, again) {
  const box = el("span", { class: "row" });
  const button = (words, name, act) => box.append(el("button", { type: "button", "aria-label": `${words} ${name}`, onclick: act }, words));
  const named = `${model} ${version}`;
  if (version === known.production) {
    const trial = known.canary ?? known.shadow;
    const words = trial ? "End trial" : "Roll back";
    const what = trial ? `End the trial of ${model} ${trial.version}` : `Go back from ${named} to the version before`;
    button(words, trial ? `of ${model} ${trial.version}` : named, () => ask({ what, again, act: (said) => rollback(model, { ...said, seen: known.seen }) }));
  } else if (!fault) {
    button("Promote", named, () => ask({ what: `Put ${named} into service`, again, canary: Boolean(known.production), act: (said) => promote(model, { ...said, version, seen: known.seen }) }));
  }
  return box;
}

function historyTable(model, changes) {
  const heads = [["When", "when"], ["What"], ["From", "number"], ["To", "number"], ["By"], ["Why", "wide"]];
  const rows = changes.slice(0, 30).map((change) => {
    const trial = change.canary ?? change.shadow;
    const kind = trial ? `${change.kind} ${trial.version}, ${trial.percent} %` : change.kind;
    return [new Date(change.at).toLocaleString(), kind, String(change.from ?? "–"), String(change.to), change.by, change.reason ?? "–"];
  });
  return table(`What was in service of ${model}`, heads, rows);
}

/** Asks why, and does it when that is confirmed. */
function ask({ what, canary = false, act, again }) {
  const reason = el("textarea", { id: "why-reason", rows: "3", maxlength: "2000", required: true });
  const share = el("input", { id: "why-share", type: "number", min: "1", max: "99", placeholder: "all" });
  const trouble = el("p", { class: "trouble", role: "alert", hidden: true });
  const confirm = el("button", { type: "submit", class: "primary" }, what.split(" ")[0] === "Put" ? "Promote" : "Confirm");
  const dialog = el("dialog", { "aria-labelledby": "why-title" });
  const form = el("form", { method: "dialog", onsubmit: send },
    el("h3", { id: "why-title" }, `${what}?`),
    el("label", { for: "why-reason" }, "Why? The history keeps it."), reason,
    ...(canary ? [el("label", { for: "why-share" }, "Only by so many of a hundred requests, as a canary"), share] : []),
    canary ? el("p", { class: "hint" }, "It was not held against the version in service here: that is what model promote --data does.") : null,
    trouble,
    el("div", { class: "row" }, confirm, el("button", { type: "button", onclick: () => dialog.close() }, "Cancel")));
  async function send(event) {
    event.preventDefault();
    if (!reason.value.trim()) return reason.focus();
    confirm.disabled = true;
    try {
      const by = remembered();
      await act({ reason: reason.value.trim(), ...(by ? { by } : {}), ...(share.value ? { canary: Number(share.value) } : {}) });
      dialog.close();
      again(`Done: ${what.toLowerCase()}. Workers follow within a moment.`);
    } catch (wrong) {
      trouble.replaceChildren(el("b", {}, wrong.title ?? "A fault of this page's"), wrong.detail ?? String(wrong));
      trouble.hidden = false;
      confirm.disabled = false;
    }
  }
  dialog.append(form);
  dialog.addEventListener("close", () => dialog.remove());
  byId("main").append(dialog);
  dialog.showModal();
  reason.focus();
}

function remembered() {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}
