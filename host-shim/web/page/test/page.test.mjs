import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { contentSecurityPolicy } from "../csp.mjs";

const page = join(dirname(fileURLToPath(import.meta.url)), "..");
const folder = mkdtempSync(join(tmpdir(), "countersign-page-"));
after(() => rmSync(folder, { recursive: true }));

/** One of the page's modules, as JavaScript. */
async function module(name) {
  const { outputFiles } = await build({
    entryPoints: [join(page, "src", `${name}.ts`)],
    bundle: true,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    write: false,
    logLevel: "warning",
  });
  const file = join(folder, `${name}.mjs`);
  writeFileSync(file, outputFiles[0].contents);
  return import(pathToFileURL(file));
}

/** Builds into a folder of its own, so that a page that is being served stays whole. */
function built(name) {
  const dist = join(folder, name);
  execFileSync(process.execPath, [join(page, "build.mjs"), dist], { stdio: "pipe" });
  return { dist, manifest: readFileSync(join(dist, "manifest.json"), "utf8") };
}

test("links name a view, a tenant, an account and an id, or nothing", async () => {
  const { parseLink, linkTo } = await module("link");
  const id = "00112233445566778899aabbccddeeff";
  const approve = parseLink(`#approve/acme/alice%40example.org/${id.toUpperCase()}`);
  assert.deepEqual([approve.view, approve.tenant, approve.account], ["approve", "acme", "alice@example.org"]);
  assert.equal(Buffer.from(approve.id).toString("hex"), id);
  assert.equal(parseLink("").view, "home");
  assert.equal(parseLink("#settings").view, "settings");
  assert.equal(parseLink("#account/acme/alice").view, "account");
  assert.equal(linkTo("enroll", { tenant: "acme", account: "a@b" }, id), `#enroll/acme/a%40b/${id}`);
  for (const hash of ["#x", `#approve/acme/alice/${id.slice(1)}`, `#approve/acme/alice/${id}/more`, `#enroll/acme/alice/${id}00`, "#approve/%/a/b", "#account/acme"]) {
    assert.equal(parseLink(hash).view, "unknown", hash);
  }
});

test("times are said so that a person can follow them", async () => {
  const { duration, roughly, grouped } = await module("words");
  assert.deepEqual([duration(0), duration(9.2), duration(65), duration(3_840)], ["0:00", "0:10", "1:05", "1 h 04 min"]);
  assert.deepEqual([roughly(30), roughly(1800), roughly(86_400)], ["30 seconds", "about 30 minutes", "about 24 hours"]);
  assert.equal(grouped("abcdefghij"), "abcd efgh ij");
});

test("the same sources build to the same bytes", () => {
  assert.equal(built("once").manifest, built("twice").manifest);
});

test("every file has the hash that the manifest says, and index.html names the hashes of what it loads", () => {
  const { dist, manifest } = built("hashes");
  const { files } = JSON.parse(manifest);
  const integrity = (name) => `sha384-${createHash("sha384").update(readFileSync(join(dist, name))).digest("base64")}`;
  assert.deepEqual(Object.keys(files), readdirSync(dist).filter((name) => name !== "manifest.json").sort());
  for (const [name, file] of Object.entries(files)) assert.equal(file.integrity, integrity(name), name);
  const html = readFileSync(join(dist, "index.html"), "utf8");
  for (const name of ["app.js", "style.css"]) assert.ok(html.includes(`="${name}" integrity="${integrity(name)}"`), name);
  assert.ok(!html.includes("{{"));
});

test("nothing is inline, and nothing comes from elsewhere", () => {
  const { dist } = built("inline");
  const html = readFileSync(join(dist, "index.html"), "utf8");
  assert.doesNotMatch(html, /<style|<script(?![^>]* src=)| style=| on[a-z]+=|https?:\/\//);
  assert.doesNotMatch(readFileSync(join(dist, "style.css"), "utf8"), /https?:|@import|url\((?!"?guilloche)/);
});

test("no source writes markup, runs text as code, or stores anything but in IndexedDB", () => {
  const sources = readdirSync(join(page, "src"), { recursive: true }).filter((name) => name.endsWith(".ts"));
  assert.ok(sources.length > 15);
  for (const name of sources) {
    const text = readFileSync(join(page, "src", name), "utf8");
    assert.doesNotMatch(text, /innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|new Function|localStorage|sessionStorage|document\.cookie/, name);
  }
});

test("the policy lets in nothing but the page itself, and out to nothing but the relay", () => {
  const own = contentSecurityPolicy("", "header");
  assert.match(own, /default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'/);
  assert.match(own, /frame-ancestors 'none'; require-trusted-types-for 'script'/);
  assert.doesNotMatch(own, /unsafe|\*|http/);
  assert.match(contentSecurityPolicy("https://relay.example", "meta"), /connect-src 'self' https:\/\/relay\.example;/);
  assert.doesNotMatch(contentSecurityPolicy("", "meta"), /frame-ancestors/);
  for (const relay of ["https://relay.example/", "https://relay.example; script-src *", "relay"]) {
    assert.throws(() => contentSecurityPolicy(relay, "meta"), relay);
  }
});

test("a signature is this device's own only by an approval that was sent from here, once", async () => {
  const { attribute } = await module("attribution");
  const hash = "ab".repeat(32);
  const entry = (counter, changed = {}) => ({ counter, time: 1_000 + counter, approval: "sealed-code", key: "a/k", intentHash: new Uint8Array(32).fill(0xab), headline: "", ...changed });
  const sent = (changed = {}) => ({ tenant: "t", account: "a", intentHash: hash, intent: "01", key: "a/k", summary: "", decision: "approved", time: 1_000, expires: 1_600, ...changed });
  const own = (entries, remembered) => [...attribute(entries, remembered).keys()].map(({ counter }) => counter);
  assert.deepEqual(own([entry(1)], [sent()]), [1]);
  assert.deepEqual(own([entry(1)], [sent({ decision: "sent" })]), [1], "it may have arrived");
  assert.deepEqual(own([entry(1), entry(2)], [sent()]), [1], "one approval, one signature");
  assert.deepEqual(own([entry(1), entry(2)], [sent(), sent({ intent: "02" })]), [1, 2]);
  assert.deepEqual(own([entry(1), entry(2)], [sent({ counter: 2 })]), [2], "its receipt numbered it");
  assert.deepEqual(own([entry(3)], [sent({ counter: 2 })]), []);
  for (const changed of [{ approval: "code" }, { key: "a/other" }, { intentHash: new Uint8Array(32) }, { time: 900 }, { time: 2_000 }]) {
    assert.deepEqual(own([entry(1, changed)], [sent()]), [], JSON.stringify(changed));
  }
  assert.deepEqual(own([entry(1)], [sent({ decision: "declined" })]), []);
});
