// A key, where the gateway asks for one: typed once, kept for this tab, shown to the gateway alone.

import { credential } from "./api.js";
import { byId } from "./dom.js";
import { refresh } from "./service.js";

/** Shows the field whenever the gateway wants a key. */
export function start() {
  const form = byId("access");
  credential.wanted = (why) => {
    if (form.hidden) {
      form.hidden = false;
      byId("key").value = "";
    }
    const words = credential.get() ? why : "This gateway asks who comes in.";
    // Said once, not at each look.
    if (byId("access-why").textContent !== words) byId("access-why").textContent = words;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    credential.set(byId("key").value.trim());
    byId("key").value = "";
    form.hidden = true;
    refresh();
  });
}
