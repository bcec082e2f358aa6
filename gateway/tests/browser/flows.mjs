// What people do on the page, in a real Chromium: `node flows.mjs FOLDER CHROMIUM FLOW ADDRESS SAMPLES`. FOLDER has what drives the
// browser. Where a flow wants something of the service it writes `host WORD` and waits for a line; main.rs does it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, executablePath, name, address, samples] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function host(word) {
  console.log(`host ${word}`);
  await lines.next();
}

const sample = (file) => `${samples}/${file}`;
const file = (name, bytes, mimeType = "image/png") => ({ name, mimeType, buffer: Buffer.from(bytes) });
const cards = (page) => page.locator(".card");
const card = (page, name) => cards(page).filter({ has: page.getByRole("heading", { name, exact: true }) });
const sees = (locator, words) => locator.filter({ hasText: words }).first().waitFor();
const option = (page, label, name) => page.getByLabel(label, { exact: true }).locator("option", { hasText: name }).waitFor({ state: "attached" });
const isFocused = (locator) => locator.evaluate((element) => element === document.activeElement);

/** Gives files to the document as a person does who drops or pastes them. */
async function give(page, kind, files) {
  await page.evaluate(([kind, files]) => {
    const data = new DataTransfer();
    for (const [name, type, text] of files) data.items.add(new File([text], name, { type }));
    const event = kind === "paste"
      ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
      : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
    document.querySelector("main").dispatchEvent(event);
  }, [kind, files]);
}

/** No fault that axe-core calls serious, and nothing wider than the page. */
async function accessible(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run(document));
  const bad = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const told = bad.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("\n")}`);
  assert.deepEqual(told, [], where);
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${where} is too wide`);
}

/** What the gateway would say of so many images, and what it is told: an embedded broker has none of them. */
async function reviewed(page, many) {
  const names = ["Sandal", "Sneaker", "Boot", "Bag", "Coat"];
  const service = { said: new Map(), fetched: new Set(), broken: false, last: many, more: (by) => { service.last += by; } };
  const item = (number) => ({
    id: `0-${number}`, request_id: `r-${number}`, image: "sha256:0", bytes: 700, model: "fashion-mnist", version: 1, why: "margin", worker: "w",
    computed_at: "2026-01-02T03:04:05Z", label: null,
    predictions: names.map((label, index) => ({ label, index, probability: 0.45 - index / 10 })),
  });
  const json = (route, body, status = 200) => route.fulfill({ status, contentType: status < 400 ? "application/json" : "application/problem+json", body: JSON.stringify(body) });
  await page.route("**/v1/review**", async (route) => {
    const url = new URL(route.request().url());
    const [, , , id, what] = url.pathname.split("/");
    if (what === "image") {
      service.fetched.add(id);
      return route.fulfill({ path: sample("coat4.png"), contentType: "image/png", headers: { "cache-control": "private, max-age=300" } });
    }
    if (id === "labels") return json(route, { model: "fashion-mnist", labels: [...names, "Trouser", "Shirt", "Ankle boot"].sort(), complete: false });
    if (id) {
      if (service.broken) return json(route, { status: 503, detail: "the broker is away", code: "UNAVAILABLE", retryable: true }, 503);
      if (route.request().method() === "DELETE") service.said.delete(id);
      else service.said.set(id, route.request().postDataJSON());
      return json(route, item(Number(id.slice(2))));
    }
    const rest = [...Array(service.last).keys()].map((at) => service.last - at).filter((number) => !service.said.has(`0-${number}`));
    const after = Number(url.searchParams.get("cursor") ?? Infinity);
    const behind = rest.filter((number) => number < after);
    const taken = behind.slice(0, 20);
    return json(route, { items: taken.map(item), next: behind.length > taken.length ? String(taken.at(-1)) : null, total: rest.length });
  });
  return service;
}

/** A registry in which bird 3 is in service, and what it is asked. */
async function versioned(page) {
  const registry = { asked: [], quicker: false, seen: 7, canary: null };
  const json = (route, body, status = 200) => route.fulfill({ status, contentType: status < 400 ? "application/json" : "application/problem+json", body: JSON.stringify(body) });
  await page.route("**/v1/models/**", async (route) => {
    const [, , , model, what] = new URL(route.request().url()).pathname.split("/");
    if (model !== "bird") return json(route, { status: 404, detail: "there is no such model", code: "NOT_FOUND", retryable: false }, 404);
    if (what === "history") return json(route, { model, changes: [{ number: 7, kind: "promote", from: null, to: 3, by: "ada", reason: "the first", at: "2026-01-02T03:04:05Z" }] });
    if (what === "versions") {
      const version = (number) => ({ version: number, digest: `sha256:${"a".repeat(64)}`, labels: 10, fault: null, metrics: [{ name: "accuracy", value: 0.91, data: "a test set", command: "model evaluate" }] });
      return json(route, { model, production: 3, seen: registry.seen, canary: registry.canary, shadow: null, versions: [4, 3].map(version) });
    }
    if (registry.quicker) return json(route, { status: 409, detail: "production is another now", code: "ABORTED", retryable: false }, 409);
    const body = route.request().postDataJSON();
    registry.asked.push([what, body]);
    registry.seen += 1;
    registry.canary = body.canary ? { version: body.version, percent: body.canary } : null;
    return json(route, { model, change: {} });
  });
  return registry;
}

/** With its list open. */
async function reviewOpen(page) {
  await page.locator("#review-picture img").waitFor();
  await page.getByRole("combobox", { name: "Another label" }).fill("b");
  await page.getByRole("option", { name: "Bag" }).waitFor();
}

const flows = {
  async files({ page }) {
    await page.getByLabel("Choose images").setInputFiles([sample("sandal5.png"), sample("scarlet_macaw.webp")]);
    await sees(card(page, "sandal5.png"), "Sandal");
    await sees(card(page, "scarlet_macaw.webp"), "Sandal");
    const text = await card(page, "sandal5.png").innerText();
    for (const words of ["Sandal", "90.0 %", "Sneaker", "< 0.1 %", "default 1, by double", "decode", "inference", "round trip"]) {
      assert.ok(text.includes(words), `${words} is not in ${text}`);
    }
    assert.equal(await card(page, "sandal5.png").locator(".labels li").count(), 5);
    assert.match(await page.locator("#said").innerText(), /Sandal, 90\.0 %/);
    await page.getByRole("button", { name: "Ask again about sandal5.png" }).click();
    await sees(card(page, "sandal5.png"), "Sandal");
    // The same once more, by an example and by hand.
    await page.getByRole("button", { name: "Example: A sandal" }).click();
    await page.getByLabel("Choose images").setInputFiles(sample("sandal5.png"));
    await card(page, "sandal5.png").nth(2).locator(".labels").getByText("Sandal").waitFor();
    await page.getByRole("button", { name: "Remove scarlet_macaw.webp" }).click();
    assert.equal(await cards(page).count(), 3);
    await page.getByRole("button", { name: "Clear" }).click();
    assert.equal(await cards(page).count(), 0);
  },

  async bad({ page }) {
    await page.getByText("up to 20 kB each").waitFor();
    await give(page, "drop", [["notes.txt", "text/plain", "no image"], ["empty.png", "image/png", ""]]);
    await sees(card(page, "notes.txt"), "Not a picture that can be read");
    await sees(card(page, "notes.txt"), "send a PNG");
    await sees(card(page, "notes.txt"), "no preview");
    await sees(card(page, "empty.png"), "empty");
    let asked = 0;
    page.on("request", (request) => { asked += request.url().includes("/predict"); });
    await page.getByLabel("Choose images").setInputFiles(file("large.png", "x".repeat(20_001)));
    await sees(card(page, "large.png"), "It has 20 kB, and an image may have up to 20 kB.");
    assert.equal(asked, 0, "it was sent");
    // What a worker says is shown as it stands.
    await page.getByLabel("Choose images").setInputFiles(file("<b>x</b>.png", "markup"));
    await sees(card(page, "<b>x</b>.png"), "<img src=x onerror=alert(1)>");
    assert.equal(await page.locator(".labels img, h3 b").count(), 0);
  },

  async paste({ page }) {
    await give(page, "paste", [["image.png", "image/png", "image"]]);
    await sees(card(page, "image.png"), "Sandal");
    await give(page, "paste", []);
    assert.equal(await cards(page).count(), 1);
  },

  async keyboard({ page }) {
    const press = (key) => page.keyboard.press(key);
    const until = async (locator) => {
      for (let tabs = 0; tabs < 30; tabs += 1) {
        if (await isFocused(locator)) return;
        await press("Tab");
      }
      assert.fail(`${locator} is not reached`);
    };
    await press("Tab");
    assert.ok(await isFocused(page.getByRole("link", { name: "Skip to the content" })));
    await press("Enter");
    const chosen = page.waitForEvent("filechooser");
    await until(page.getByLabel("Choose images"));
    await press("Enter");
    await (await chosen).setFiles(sample("coat4.png"));
    await sees(card(page, "coat4.png"), "Sandal");
    await until(page.getByLabel("Model", { exact: true }));
    await page.keyboard.type("bird");
    await until(page.getByRole("button", { name: "Example: An ankle boot" }));
    await press("Space");
    await sees(card(page, "ankle_boot9.png"), "not a bird");
    await until(page.getByRole("button", { name: "Ask again about ankle_boot9.png" }));
    await press("Enter");
    await sees(card(page, "ankle_boot9.png"), "not a bird");
    assert.ok(await isFocused(page.getByRole("button", { name: "Ask again about ankle_boot9.png" })), "the focus is lost");
    await press("Tab");
    await press("Enter");
    assert.equal(await cards(page).count(), 1);
    assert.ok(await isFocused(page.getByRole("button", { name: "Ask again about coat4.png" })), "the focus is lost");
    for (let back = 0; back < 30 && !(await isFocused(page.getByRole("link", { name: "Live" }))); back += 1) await press("Shift+Tab");
    await press("Enter");
    await page.getByRole("heading", { name: "Live" }).waitFor();
    assert.equal(await page.title(), "Live · mlaas");
  },

  async models({ page }) {
    await option(page, "Model", "default (default)");
    await option(page, "Model", "bird");
    assert.equal(await page.getByLabel("Version", { exact: true }).locator("option").count(), 1);
    await page.getByLabel("Model", { exact: true }).selectOption("bird");
    await option(page, "Version", "4, loading");
    await page.getByLabel("Version", { exact: true }).selectOption("3");
    await page.getByLabel("Choose images").setInputFiles(sample("coat4.png"));
    await sees(card(page, "coat4.png"), "not a bird (none of the classes)");
    await sees(card(page, "coat4.png"), "bird 3, by double");
    await page.getByRole("link", { name: "Models" }).click();
    const bird = page.getByRole("table", { name: "bird" });
    await sees(bird, "ready 1 of 2");
    await sees(bird, "workers differ");
    await sees(bird, "10 %");
    await sees(bird.getByRole("columnheader"), "Shadow");
    await sees(bird, "25 %");
    await sees(page.getByRole("table", { name: "Found and not served" }), "its manifest is broken");
    await sees(page.getByRole("table", { name: "default" }), "for requests that name no model");
    await host("more");
    await sees(bird, "w9");
  },

  async nobody({ page }) {
    const banner = page.locator("#banner");
    await sees(banner, "No worker serves a model now");
    await page.getByLabel("Choose images").setInputFiles(sample("coat4.png"));
    await sees(card(page, "coat4.png"), /Asked \d+ s ago. No worker/);
    await host("worker");
    await sees(card(page, "coat4.png"), "Sandal");
    await banner.waitFor({ state: "hidden" });
    await option(page, "Model", "bird");
  },

  async late({ page }) {
    const pick = page.getByLabel("Choose images");
    await pick.setInputFiles([1, 2, 3, 4, 5].map((at) => file(`late${at}.png`, "late")));
    await sees(card(page, "late5.png"), "Waits for its turn");
    assert.equal(await page.getByText("Asked").count(), 4);
    await page.getByRole("button", { name: "Stop asking about late5.png" }).click();
    await sees(card(page, "late5.png"), "It was not sent");
    await page.getByRole("button", { name: "Stop asking about late1.png" }).click();
    await sees(card(page, "late1.png"), "It was not waited for");
    await sees(card(page, "late2.png"), "No answer in time");
    await page.getByRole("link", { name: "Live" }).click();
    await sees(page.locator("#kinds"), "504, no answer in time");
    await sees(page.locator("#kinds"), "hung up");
    await sees(page.getByRole("table", { name: "Recent images" }), "DEADLINE_EXCEEDED");
  },

  async gone({ page }) {
    const banner = page.locator("#banner");
    await host("gateway down");
    await sees(banner, "Nothing answers at");
    await page.getByLabel("Choose images").setInputFiles(sample("coat4.png"));
    await sees(card(page, "coat4.png"), "The gateway does not answer");
    await host("gateway up");
    await banner.waitFor({ state: "hidden" });
    await page.getByRole("button", { name: "Ask again about coat4.png" }).click();
    await sees(card(page, "coat4.png"), "Sandal");
    await host("broker down");
    await sees(banner, "Kafka: ");
    await host("broker up");
    await banner.waitFor({ state: "hidden" });
  },

  async key({ page }) {
    const field = page.getByLabel("Key", { exact: true });
    await field.waitFor();
    await sees(page.locator("#access-why"), "asks who comes in");
    await accessible(page, "the field for a key");
    await field.fill("mlaas_wrong");
    await page.keyboard.press("Enter");
    await sees(page.locator("#access-why"), "not known");
    await field.fill("mlaas_page");
    await page.getByRole("button", { name: "Use it" }).click();
    await option(page, "Model", "bird");
    assert.equal(await field.isVisible(), false);
    await page.getByLabel("Choose images").setInputFiles(sample("sandal5.png"));
    await sees(card(page, "sandal5.png"), "Sandal");
    // Kept for this tab, and for no other.
    await page.reload();
    await option(page, "Model", "bird");
    const other = await page.context().newPage();
    await other.goto(`${address}/`);
    await other.getByLabel("Key", { exact: true }).waitFor();
    assert.deepEqual(await other.evaluate(() => [localStorage.length, document.cookie]), [0, ""]);
  },

  async live({ page }) {
    await page.getByRole("link", { name: "Live" }).click();
    await sees(page.locator("#fleet-said"), "No worker has published what it does");
    await page.getByRole("img", { name: /^Time to the answer, the last 5 minutes/ }).waitFor();
    await host("publish");
    const [workers, models] = ["Workers", "Model versions"].map((name) => page.getByRole("table", { name }));
    await sees(page.locator("#fleet-said"), "2 workers, whoever asked");
    await sees(workers, "works");
    await sees(workers, "<b>w2</b>");
    await sees(models, "bird");
    await sees(models, "(none found)");
    await sees(page.locator("#fleet-kinds"), "4 × NOT_FOUND; 2 × INVALID_ARGUMENT");
    await sees(page.locator("#fleet-figures"), "Average batch");
    assert.equal(await page.getByRole("img", { name: /^Time to the answer/ }).count(), 0, "the gateway's own charts stand there too");
    await page.getByRole("img", { name: /^Lag, in requests, the last 5 minutes: at most 10/ }).waitFor();
    await page.getByLabel("Which model", { exact: true }).selectOption("shoe");
    await models.getByText("bird").waitFor({ state: "detached" });
    assert.equal(await page.locator("#of-model option").count(), 3, "bird can be chosen again");
    await page.getByLabel("Worker", { exact: true }).selectOption("w1");
    await workers.getByText("<b>w2</b>").waitFor({ state: "detached" });
    await page.getByLabel("Worker", { exact: true }).selectOption("");
    await page.getByLabel("Last", { exact: true }).selectOption("60");
    await page.getByRole("img", { name: /^Requests a second, the last 60 minutes/ }).waitFor();
    await sees(workers, /gone for \d+ s/);
    // Where somebody is by keyboard they stay, though the table is made anew each second.
    const place = page.getByRole("region", { name: "Workers" });
    await place.focus();
    await host("publish");
    await sees(workers, "works");
    assert.ok(await isFocused(place), "the focus is lost");
  },

  async review({ page }) {
    const service = await reviewed(page, 60);
    const picture = page.locator("#review-picture img");
    const shows = (number) => page.locator(`#review-picture img[data-id="0-${number}"][src]`).waitFor();
    const left = (words) => sees(page.locator("#review-left"), words);
    const press = (key) => page.keyboard.press(key);
    await page.getByRole("link", { name: "Review" }).click();
    await shows(60);
    await left("60 images left");
    await page.waitForFunction(() => document.querySelector("#review-picture img").naturalWidth > 0);
    assert.equal(await picture.evaluate((image) => image.classList.contains("pixels")), true);
    assert.ok(service.fetched.has("0-59"), "the next one is fetched before it is wanted");
    assert.equal(await page.locator("#review-choices button").count(), 5);
    // By keyboard alone, from the link on.
    await page.keyboard.press("Tab");
    await page.getByLabel("Your name").fill("Ada");
    await page.locator("#review-stage").focus();
    await press("Enter");
    await shows(59);
    assert.deepEqual(service.said.get("0-60"), { label: "Sandal", by: "Ada" });
    await left("59 images left");
    assert.match(await page.locator("#review-said").innerText(), /Sandal confirmed\. 59 images left\. Now: Sandal 45\.0 %/);
    await press("3");
    await shows(58);
    assert.deepEqual(service.said.get("0-59"), { label: "Boot", by: "Ada" });
    await press("s");
    await shows(57);
    assert.deepEqual(service.said.get("0-58"), { skip: true, by: "Ada" });
    await press("u");
    await shows(58);
    assert.equal(service.said.has("0-58"), false);
    await press("ArrowRight");
    await shows(57);
    await press("ArrowLeft");
    await shows(58);
    // A label that is not among the five, found by what it holds.
    await press("t");
    const filter = page.getByRole("combobox", { name: "Another label" });
    assert.ok(await isFocused(filter), "letters begin a label");
    await page.keyboard.type("rou");
    assert.deepEqual(await page.locator("#review-matches [role=option]").allInnerTexts(), ["Trouser", "trou – a new label"]);
    await press("Enter");
    await shows(57);
    assert.deepEqual(service.said.get("0-58"), { label: "Trouser", by: "Ada" });
    assert.ok(await isFocused(page.locator("#review-stage")), "the keys are the image's again");
    // One that begins with S, and one that is new.
    await press("/");
    await page.keyboard.type("sh");
    await press("ArrowDown");
    await press("Enter");
    await shows(56);
    assert.equal(service.said.get("0-57").label, "sh");
    assert.equal(service.said.get("0-57").new, true);
    await press("/");
    await page.keyboard.type("s");
    await press("Escape");
    assert.ok(await isFocused(page.locator("#review-stage")));
    await shows(56);
    // What is written in a field is no key, nor where the keys are off.
    await page.getByLabel("Your name").focus();
    await page.keyboard.type("su1");
    await page.getByLabel("Keys").uncheck();
    await page.locator("#review-stage").focus();
    await press("s");
    await shows(56);
    await page.getByLabel("Keys").check();
    await page.locator("#review-stage").focus();
    // What can't be written is said, and the image stays.
    service.broken = true;
    await press("Enter");
    await sees(page.locator("#review-trouble"), "the broker is away");
    await shows(56);
    service.broken = false;
    // To the end, over pages.
    for (let number = 56; number > 0; number -= 1) {
      await shows(number);
      await press("Enter");
    }
    await left("Nothing is left");
    assert.equal(service.said.size, 60);
    service.more(1);
    await shows(61);
  },

  async promotes({ page }) {
    const registry = await versioned(page);
    await page.getByRole("link", { name: "Models" }).click();
    const versions = page.getByRole("table", { name: "Versions of bird in the registry" });
    await sees(versions, "in service");
    await sees(versions, "accuracy 91.0 %");
    await sees(page.getByRole("table", { name: "What was in service of bird" }), "the first");
    await page.getByRole("button", { name: "Promote bird 4" }).click();
    const dialog = page.getByRole("dialog", { name: "Put bird 4 into service?" });
    await dialog.waitFor();
    assert.ok(await isFocused(dialog.getByLabel("Why?")));
    await accessible(page, "the dialog");
    await dialog.getByRole("button", { name: "Cancel" }).click();
    assert.deepEqual(registry.asked, []);
    await page.getByRole("button", { name: "Promote bird 4" }).click();
    await dialog.getByRole("button", { name: "Promote" }).click();
    assert.ok(await dialog.isVisible(), "nothing is done without a reason");
    await dialog.getByLabel("Why?").fill("better birds");
    await dialog.getByLabel("Only by so many").fill("10");
    registry.quicker = true;
    await dialog.getByRole("button", { name: "Promote" }).click();
    await sees(dialog.getByRole("alert"), "Somebody else was quicker");
    registry.quicker = false;
    await dialog.getByRole("button", { name: "Promote" }).click();
    await dialog.waitFor({ state: "detached" });
    assert.deepEqual(registry.asked.at(-1), ["promote", { reason: "better birds", canary: 10, version: 4, seen: 7 }]);
    await sees(page.getByRole("status"), "Done: put bird 4 into service");
    await sees(versions, "canary, 10 %");
    await page.getByRole("button", { name: "End trial of bird 4" }).click();
    const end = page.getByRole("dialog", { name: "End the trial of bird 4?" });
    await end.getByLabel("Why?").fill("too slow");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await end.waitFor({ state: "detached" });
    assert.deepEqual(registry.asked.at(-1), ["rollback", { reason: "too slow", seen: 8 }]);
  },

  async review_not_here({ page }) {
    await page.getByRole("link", { name: "Review" }).click();
    await sees(page.locator("#review-trouble"), "Not possible here");
    await sees(page.locator("#review-trouble"), "on a real Kafka alone");
  },

  async looks({ browser }) {
    for (const colorScheme of ["light", "dark"]) {
      for (const viewport of [{ width: 1200, height: 800 }, { width: 360, height: 740 }]) {
        const phone = viewport.width < 500;
        const page = await open(browser, { colorScheme, viewport, isMobile: phone, hasTouch: phone });
        await option(page, "Model", "bird");
        assert.equal(await page.getByText("Take a photograph").isVisible(), phone);
        assert.equal(await page.locator("#shoot").getAttribute("capture"), "environment");
        await page.getByLabel("Choose images").setInputFiles(sample("coat4.png"));
        await page.getByLabel("Choose images").setInputFiles(file("notes.txt", "no image"));
        await sees(card(page, "coat4.png"), "Sandal");
        await sees(card(page, "notes.txt"), "Not a picture");
        await reviewed(page, 3);
        for (const view of ["Try it", "Review", "Models", "Live"]) {
          await page.getByRole("link", { name: view, exact: true }).click();
          if (view === "Live") {
            await host("publish");
            await page.getByRole("img", { name: /^Time in the worker, the last 5 minutes/ }).waitFor();
            await page.getByRole("table", { name: "Workers" }).waitFor();
          }
          if (view === "Review") await reviewOpen(page);
          await accessible(page, `${view}, ${colorScheme}, ${viewport.width}`);
        }
        const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        assert.equal(dark === "rgb(255, 255, 255)", colorScheme === "light");
        await page.context().close();
      }
    }
  },
};

const faults = [];

/** The page, watched: nothing fails in it, and it asks nobody but the gateway. */
async function open(browser, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    // The browser itself says that an answer was an error, or that there was none.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(`${address}/`) && !request.url().startsWith("blob:")) faults.push(`it asked ${request.url()}`);
  });
  await page.goto(`${address}/`);
  await page.getByRole("heading", { name: "Try it" }).waitFor();
  return page;
}

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
try {
  const page = name === "looks" ? undefined : await open(browser, { viewport: { width: 1000, height: 800 } });
  await flows[name]({ browser, page });
  assert.deepEqual(faults, []);
} finally {
  await browser.close();
}
process.exit(0);
