// The page as a whole: which view is shown, by what stands behind # in the address.

import * as access from "./access.js";
import { byId } from "./dom.js";
import * as live from "./live.js";
import * as models from "./models.js";
import * as review from "./review.js";
import * as service from "./service.js";
import * as attempt from "./try.js";

const VIEWS = ["try", "review", "models", "live"];

function show() {
  const wanted = location.hash.slice(1);
  const view = VIEWS.includes(wanted) ? wanted : (VIEWS.find((name) => !byId(`view-${name}`).hidden) ?? VIEWS[0]);
  for (const name of VIEWS) byId(`view-${name}`).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${view}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${byId(`title-${view}`).textContent} · mlaas`;
  live.shown(view === "live");
  review.shown(view === "review");
  models.shown(view === "models");
}

access.start();
attempt.start();
models.start();
live.start();
review.start();
window.addEventListener("hashchange", show);
show();
service.start();
