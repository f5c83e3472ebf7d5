import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { NotTrusted, Refused } from "../src/errors.js";
import { notTrustedSentence, refusalSentence } from "../src/sentences.js";

const DOCS = new URL("../../../../../docs/cli.md", import.meta.url);

/** Reasons that only a backend can meet: nothing that a device asks for is refused with them. */
const BACKENDS = new Set([
  "wrong-api-key", "malformed-name", "key-exists", "too-many-keys", "plain-enrolment-not-allowed", "mechanism-not-allowed",
  "malformed-transaction", "unsupported-transaction", "malformed-message", "malformed-typed-data", "malformed-psbt",
  "taproot-not-supported", "sighash-not-allowed", "amount-not-proven", "nothing-to-sign", "fee-too-high", "chain-id-missing",
  "unsupported-path", "path-taken", "malformed-address", "too-many-payees", "too-much-to-show", "request-id-reused",
]);

/** Faults of the HSM's own, of which a person can only be told that it refused. */
const FAULTS = new Set(["store-refused", "keystore-failed", "internal-error"]);

test("every reason of docs/cli.md that a device can meet has a sentence of its own", () => {
  const reasons = [...readFileSync(DOCS, "utf8").matchAll(/^\| `([a-z-]+)` \| (?:caller|device) \|/gm)].map(([, reason]) => reason ?? "");
  assert.ok(reasons.length > 30, "the table of reasons was found");
  const any = refusalSentence("no-such-word");
  const missing = reasons.filter((reason) => !BACKENDS.has(reason) && !FAULTS.has(reason) && refusalSentence(reason) === any);
  assert.deepEqual(missing, []);
});

test("an unknown reason still tells a person what is certain", () => {
  assert.match(new Refused("word-of-tomorrow").message, /^The service refused this\. Nothing was released\./);
});

test("what is not trusted says to stop", () => {
  for (const word of ["wrong-root", "bad-signature", "unknown-factor", "wrong-address", "wrong-seal", "stale-answer", "stale-answer"] as const) {
    assert.match(new NotTrusted(word).message, /Do not continue/);
  }
});

test("what is not trusted has the words of the Rust client", () => {
  const rust = readFileSync(new URL("../../../../client/src/device/trust.rs", import.meta.url), "utf8");
  const words = [...rust.matchAll(/^ {4}[A-Z][A-Za-z]+, "([a-z-]+)",$/gm)].map(([, word]) => word ?? "");
  assert.equal(words.length, 11);
  const any = notTrustedSentence("no-such-word");
  for (const word of words) assert.notEqual(notTrustedSentence(word), any, word);
});
