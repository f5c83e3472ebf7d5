/**
 * Drives every view of the page in Chromium, narrow and wide, light and dark; takes a picture of each, runs axe on each, and fails where
 * something is not as it must be.
 *
 *     node page/test/look.mjs FOLDER [BASE_URL]
 *
 * Without a URL it starts the double of `relay.mjs`. With one, that server needs the double's `POST /test/NAME`.
 */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { story } from "./story.mjs";
import { trouble } from "./trouble.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const [folder = "page/shots", given] = process.argv.slice(2);
const only = process.env.LOOK ?? "";
mkdirSync(folder, { recursive: true });

const relay = given === undefined ? await (await import("./relay.mjs")).startRelay() : { url: given, stop: () => {} };
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const found = [];

for (const [size, width, height] of [["narrow", 360, 740], ["wide", 1280, 800]]) {
  for (const colorScheme of ["light", "dark"]) {
    const name = `${size}-${colorScheme}`;
    if (only !== "" && only !== name) continue;
    const context = await browser.newContext({ viewport: { width, height }, colorScheme, reducedMotion: "reduce" });
    const page = await context.newPage();
    watchPage(page, name);
    let count = 0;
    const shotOf = (of) => async (view) => {
      const file = `${name}-${String(++count).padStart(2, "0")}-${view}.png`;
      await of.screenshot({ path: join(folder, file), fullPage: true });
      found.push(...(await inspect(of, `${name} ${view}`)));
    };
    await story({ page, context, base: relay.url, account: `alice-${name}@example.org`, shot: shotOf(page) });
    await context.close();
    await inAnother({ viewport: { width, height }, colorScheme, reducedMotion: "reduce" }, name, shotOf);
    console.log(`${name}: ${count} views`);
  }
}

await browser.close();
relay.stop();
for (const each of found) console.error(each);
assert.equal(found.length, 0, "every view is as it must be");

/** The story of what goes wrong, in a browser that knows nothing yet. Lost answers are what it is about, so the console may say so. */
async function inAnother(options, name, shotOf) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  watchPage(page, name, /status of 502/);
  await trouble({ page, context, base: relay.url, account: `bob-${name}@example.org`, shot: shotOf(page) });
  await context.close();
}

/** Nothing may be written to the console as an error, fail to load, or be asked of another origin. */
function watchPage(page, name, expected = /^$/) {
  page.on("console", (message) => {
    // The contract takes ES256 alone; Chromium would rather see RS256 as well.
    if (message.text().startsWith("publicKey.pubKeyCredParams is missing")) return;
    if (expected.test(message.text())) return;
    if (message.type() === "error" || message.type() === "warning") found.push(`${name} console: ${message.text()}`);
  });
  page.on("pageerror", (error) => found.push(`${name} page error: ${error.message}`));
  page.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol !== "blob:" && origin !== new URL(relay.url).origin) found.push(`${name} asks ${request.url()}`);
  });
}

/** Accessibility by axe, and no sideways scrolling. */
async function inspect(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  return [
    ...violations.map(({ id, help, nodes }) => `${where}: ${id}: ${help} (${nodes.map(({ target }) => target.join(" ")).join(", ")})`),
    ...(sideways ? [`${where}: scrolls sideways`] : []),
  ];
}
