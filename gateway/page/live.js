// What goes on: what all workers do, and what this gateway answered.

import { activity, live } from "./api.js";
import * as fleet from "./fleet.js";
import * as own from "./own.js";
import { byId, repeat } from "./dom.js";

const EVERY = 1000;

let isShown = false;
let refresh = () => {};

/** Puts the view together. */
export function start() {
  refresh = repeat(EVERY, () => isShown, look);
  for (const id of ["minutes", "of-model", "of-worker"]) byId(id).addEventListener("change", refresh);
  let wide = 0;
  new ResizeObserver(([{ contentRect }]) => {
    // How high it is changes with what is drawn.
    if (contentRect.width === wide) return;
    wide = contentRect.width;
    fleet.draw();
    own.draw();
  }).observe(byId("view-live"));
}

/** Whether it is the view that is shown. */
export function shown(is) {
  const comes = is && !isShown;
  isShown = is;
  if (comes) refresh();
}

async function look() {
  const minutes = Number(byId("minutes").value);
  const [all, ours] = await Promise.allSettled([live(minutes, byId("of-model").value, byId("of-worker").value), activity(minutes)]);
  const isThere = fleet.show(minutes, all.value, all.reason);
  own.show(minutes, ours.value, ours.reason, !isThere);
}
