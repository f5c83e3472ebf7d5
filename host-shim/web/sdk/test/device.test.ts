import { decode as decodeCbor } from "cborg";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { random, toHex } from "../src/bytes.js";
import { contextPin, Device, NotTrusted, Refused, Unreachable, verifyReceipt } from "../src/index.js";
import { summaryLines } from "../src/view.js";
import { newKey } from "./p256.js";
import { encodePlain, plainMap, type Plain } from "./plain-cbor.js";
import { notPossible, notTrusted, refused, Rig, SUMMARY, WHOSE } from "./rig.js";
import { SoftPasskey } from "./soft-passkey.js";

test("a code approves exactly what was shown, and the receipt is for that", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const view = await rig.viewed();
  assert.equal(view.summary, SUMMARY);
  await rig.device.approveWithCode(view, rig.code());
  rig.hsm.signIntent(WHOSE.tenant, WHOSE.account, view.intent);
  assert.equal((await rig.device.viewIntent(WHOSE, view.intent)).state, "signed");
  const { receipt, file } = await rig.device.receipt(WHOSE, view.intent, view);
  assert.deepEqual([receipt.counter, receipt.summary, receipt.approval], [1, SUMMARY, "sealed-code"]);
  assert.deepEqual(await verifyReceipt(JSON.parse(JSON.stringify(file)), rig.hsm.fingerprint), receipt);
});

test("a passkey approves exactly what was shown", async () => {
  const rig = new Rig();
  const passkey = new SoftPasskey();
  await rig.enrolled([passkey.register], "passkey");
  const view = await rig.viewed();
  await notPossible(rig.device.approveWithCode(view, rig.code()), "approval-below-floor");
  await rig.device.approveWithPasskey(view, passkey.ask);
  rig.hsm.signIntent(WHOSE.tenant, WHOSE.account, view.intent);
  assert.equal((await rig.device.receipt(WHOSE, view.intent, view)).receipt.approval, "passkey");
});

test("a passkey asked for something else is refused", async () => {
  const rig = new Rig();
  const passkey = new SoftPasskey();
  await rig.enrolled([passkey.register]);
  const view = await rig.viewed();
  await refused(rig.device.approveWithPasskey(view, () => passkey.ask(random(32), [])), "passkey-wrong-challenge");
  const stranger = new SoftPasskey();
  await refused(rig.device.approveWithPasskey(view, stranger.ask), "unknown-passkey");
});

test("what was approved for one view is worth nothing for another", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const [shown, other] = [await rig.viewed(), await rig.viewed("sign: something else")];
  // The summary of one, the id of the other: the digests differ, so the device's signature fits neither.
  await refused(rig.device.approveWithCode({ ...shown, intent: other.intent }, rig.code()), "wrong-device-signature");
  await refused(rig.device.approveWithCode({ ...shown, nonce: random(32) }, rig.code()), "wrong-device-signature");
  await rig.device.approveWithCode(shown, rig.code());
});

test("a payee is approved with no key and no digest", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const staged = { purpose: "payee", summary: "payee: 0xAbC" };
  const view = await rig.device.viewIntent(WHOSE, rig.hsm.stage(WHOSE.tenant, WHOSE.account, staged));
  assert.deepEqual([view.key, view.keyId.length, view.digests.length, view.mechanism], ["", 0, 0, "payee"]);
  await rig.device.approveWithCode(view, rig.code());
});

test("declining needs no code, and ends it", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const view = await rig.viewed();
  await rig.device.decline(view);
  await refused(rig.device.approveWithCode(view, rig.code()), "intent-not-open");
  assert.equal((await rig.device.viewIntent(WHOSE, view.intent)).state, "declined");
});

test("codes that are none never leave the device", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const view = await rig.viewed();
  const before = rig.hsm.requests;
  for (const code of ["", "12345", "1234567", "12345a", " 12345", "１２３４５６"]) {
    await notPossible(rig.device.approveWithCode(view, code), "malformed-code");
  }
  await notPossible(rig.device.unlock(WHOSE, "123456", "12345"), "malformed-code");
  assert.equal(rig.hsm.requests, before);
});

test("what is no longer open is not approved", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const view = await rig.viewed();
  await notPossible(rig.device.approveWithCode({ ...view, state: "signed" }, rig.code()), "intent-not-open");
  await notPossible(rig.device.approveWithCode({ ...view, now: view.expires }, rig.code()), "intent-expired");
});

test("a refusal carries its word, a sentence, and when to ask again", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const view = await rig.viewed();
  const other = await rig.viewed();
  await rig.device.approveWithCode(view, rig.code());
  await assert.rejects(rig.device.approveWithCode(other, rig.code()), (error) => {
    assert.ok(error instanceof Refused);
    assert.deepEqual([error.reason, error.retryAfterSecs], ["code-used", 30 - (rig.clock % 30)]);
    assert.match(error.message, /already used/);
    return true;
  });
  rig.hsm.alter.refuse = { act: "view-intent", reason: "a-word-of-tomorrow", retryAfterSecs: null };
  await assert.rejects(rig.viewed(), (error) => error instanceof Refused && error.message.startsWith("The service refused"));
});

test("freeze, unlock and cancelling a recovery are bound to the account's act nonce", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const account = rig.hsm.accountOf(WHOSE.tenant, WHOSE.account);
  account.lockedUntil = rig.clock + 300;
  assert.equal((await rig.device.account(WHOSE)).lockedForSecs, 300);
  const first = rig.code();
  rig.clock += 30;
  await rig.device.unlock(WHOSE, first, rig.code());
  assert.equal((await rig.device.account(WHOSE)).lockedForSecs, 0);
  await refused(rig.device.cancelRecovery(WHOSE), "no-recovery");
  account.recovering = true;
  await rig.device.cancelRecovery(WHOSE);
  await rig.device.freeze(WHOSE);
  assert.equal((await rig.device.account(WHOSE)).state, "frozen");
});

test("the account shows its open intents, its entries and its keys", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const [view, open] = [await rig.viewed(), await rig.viewed()];
  await rig.device.approveWithCode(view, rig.code());
  rig.hsm.signIntent(WHOSE.tenant, WHOSE.account, view.intent);
  const account = await rig.device.account(WHOSE);
  assert.deepEqual(account.intents.map(({ intent }) => toHex(intent)), [toHex(open.intent)]);
  assert.deepEqual(account.entries.map((entry) => toHex(entry.intentHash)), [toHex(view.intentHash)]);
  assert.equal(account.entries[0]?.headline, "sign: transfer on Ethereum (eip155:1)");
  assert.match(account.keys[0]?.address ?? "", /^0x[0-9a-fA-F]{40}$/);
});

test("refuses an HSM with another root than the pinned one", async () => {
  const rig = new Rig();
  await rig.enrolled();
  await notTrusted(rig.newDevice("00".repeat(32)).identity(), "wrong-root");
  assert.throws(() => rig.newDevice("00"), TypeError);
});

test("refuses an identity that the root did not sign, or that is no identity", async () => {
  const rig = new Rig();
  rig.hsm.alter = { signature: () => Buffer.alloc(64, 1) };
  await notTrusted(rig.device.identity(), "bad-signature");
  rig.lieAbout(0, "countersign identity v2");
  await notTrusted(rig.device.identity(), "malformed-statement");
  const lies: [number, Parameters<Rig["lieAbout"]>[1]][] = [
    [1, Buffer.alloc(15)],
    [2, Buffer.alloc(47)],
    [3, "sundial"],
    [4, Buffer.alloc(65)],
    [5, "text"],
  ];
  for (const [at, value] of lies) {
    rig.lieAbout(at, value);
    await notTrusted(rig.device.identity(), "malformed-statement");
  }
  rig.hsm.alter = { statement: (fields) => [...fields, 0] };
  await notTrusted(rig.device.identity(), "malformed-statement");
  rig.hsm.alter = {};
  await rig.device.identity();
});

test("refuses the account's HSM exchanged for another one of the same root", async () => {
  const rig = new Rig();
  await rig.enrolled();
  rig.lieAbout(1, random(16));
  await notTrusted(rig.newDevice().account(WHOSE), "other-hsm");
});

test("refuses a view in which one field is not what was asked for", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const lies: [number, Parameters<Rig["lieAbout"]>[1], string][] = [
    [0, "countersign account v1", "malformed-statement"],
    [1, random(16), "other-hsm"],
    [2, "other", "other-account"],
    [3, "bob", "other-account"],
    [4, random(16), "other-intent"],
    [5, "unlock", "malformed-statement"],
    [6, "bob/ethereum", "other-account"],
    [7, random(15), "malformed-statement"],
    [8, "payee", "malformed-statement"],
    [9, [], "malformed-statement"],
    [9, [random(31)], "malformed-statement"],
    [10, random(4), "malformed-statement"],
    [11, "nothing", "malformed-statement"],
    [12, "maybe", "malformed-statement"],
    [13, random(31), "malformed-statement"],
    [14, "soon", "malformed-statement"],
    [15, null, "malformed-statement"],
    [16, random(32), "stale-answer"],
  ];
  for (const [at, value, word] of lies) {
    rig.lieAbout(at, value);
    await notTrusted(rig.viewed(), word);
  }
  rig.hsm.alter = {};
  await rig.viewed();
});

test("refuses an account view in which one field is not what was asked for", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const key = ["alice@example.org/ethereum", random(16), newKey().point, ["ethereum"], "code", "", "", "", ""];
  const lies: [number, Parameters<Rig["lieAbout"]>[1], string][] = [
    [0, "countersign view v1", "malformed-statement"],
    [1, random(16), "other-hsm"],
    [2, "other", "other-account"],
    [3, "bob", "other-account"],
    [4, random(32), "stale-answer"],
    [5, "now", "malformed-statement"],
    [6, "melted", "malformed-statement"],
    [7, null, "malformed-statement"],
    [8, random(16), "malformed-statement"],
    [9, "many", "malformed-statement"],
    [10, [[random(16), "open"]], "malformed-statement"],
    [11, [[1, 2, "code", "k", random(31), "h"]], "malformed-statement"],
    [12, [["bob/ethereum", ...key.slice(1)]], "other-account"],
    [12, [key.slice(1)], "malformed-statement"],
  ];
  for (const [at, value, word] of lies) {
    rig.lieAbout(at, value);
    await notTrusted(rig.device.account(WHOSE), word);
  }
});

test("refuses a statement that is changed, signed in the higher form, or signed by another", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const { highS, signLow } = await import("./p256.js");
  rig.hsm.alter = { signature: (signature) => highS(signature) };
  await notTrusted(rig.viewed(), "bad-signature");
  rig.hsm.alter = { signature: () => signLow(newKey(), Buffer.from("x")) };
  await notTrusted(rig.viewed(), "bad-signature");
});

test("refuses a reply to another request, and one that is no reply", async () => {
  const rig = new Rig();
  rig.hsm.alter = { reply: (reply) => reply.fill(0, 5, 21) };
  await notTrusted(rig.device.identity(), "stale-answer");
  for (const bytes of ["", "a0", "f6", "a16269644100"]) {
    rig.hsm.alter = { reply: () => Buffer.from(bytes, "hex") };
    await notTrusted(rig.device.identity(), "malformed-statement");
  }
  rig.hsm.alter = { reply: (reply) => Buffer.concat([reply, Buffer.from([0])]) };
  await notTrusted(rig.device.identity(), "malformed-statement");
});

test("refuses an answer of another kind than the act's", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const view = await rig.viewed();
  rig.hsm.alter = { answer: () => "carried-out" };
  await notTrusted(rig.device.approveWithCode(view, rig.code()), "malformed-statement");
  await notTrusted(rig.device.viewIntent(WHOSE, view.intent), "malformed-statement");
  rig.hsm.alter = { answer: (answer) => (answer === "carried-out" ? "approved" : answer) };
  await notTrusted(rig.device.freeze(WHOSE), "malformed-statement");
});

test("refuses a receipt for something else, of somebody else, or of another measurement", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const view = await rig.viewed();
  await rig.device.approveWithCode(view, rig.code());
  await refused(rig.device.receipt(WHOSE, view.intent), "unknown-receipt");
  rig.hsm.signIntent(WHOSE.tenant, WHOSE.account, view.intent);
  const lies: [number, Parameters<Rig["lieAbout"]>[1], string][] = [
    [0, "countersign view v1", "malformed-statement"],
    [1, random(16), "other-hsm"],
    [2, random(48), "other-image"],
    [3, "other", "other-account"],
    [4, "bob", "other-account"],
    [5, "alice@example.org/other", "other-intent"],
    [6, random(16), "other-intent"],
    [7, "message", "other-intent"],
    [8, [random(32)], "other-intent"],
    [9, "sign: less", "other-intent"],
    [10, "wink", "malformed-statement"],
    [11, "1", "malformed-statement"],
    [12, null, "malformed-statement"],
  ];
  for (const [at, value, word] of lies) {
    rig.lieAbout(at, value);
    await notTrusted(rig.device.receipt(WHOSE, view.intent, view), word);
    // Without the view there is nothing to compare key, digests and summary with; whose it is still counts.
    if (word !== "other-intent") await notTrusted(rig.device.receipt(WHOSE, view.intent), word);
  }
});

test("a receipt file is verified offline down from the root, or not at all", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const view = await rig.viewed();
  await rig.device.approveWithCode(view, rig.code());
  rig.hsm.signIntent(WHOSE.tenant, WHOSE.account, view.intent);
  const { file } = await rig.device.receipt(WHOSE, view.intent, view);
  const pinned = rig.hsm.fingerprint;
  await notTrusted(verifyReceipt(file, "00".repeat(32)), "wrong-root");
  await notTrusted(verifyReceipt({ ...file, format: "countersign receipt file v1" }, pinned), "malformed-statement");
  await notTrusted(verifyReceipt({ ...file, receipt: { ...file.receipt, more: "00" } }, pinned), "malformed-statement");
  await notTrusted(verifyReceipt({ ...file, receipt: { statement: file.identity.statement, signature: file.identity.signature } }, pinned), "bad-signature");
  await notTrusted(verifyReceipt({ ...file, identity: { ...file.receipt, root: file.identity.root } }, pinned), "bad-signature");
  await notTrusted(verifyReceipt({ ...file, receipt: { ...file.receipt, statement: "zz" } }, pinned), "malformed-statement");
  await notTrusted(verifyReceipt({ ...file, identity: null }, pinned), "malformed-statement");
  await notTrusted(verifyReceipt(undefined, pinned), "malformed-statement");
});

test("a receipt file has the form of docs/approvals.md, which the command line reads and writes", async () => {
  const docs = readFileSync(new URL("../../../../../docs/approvals.md", import.meta.url), "utf8");
  const form = /```json\n(\{"identity":.*\})\n```/.exec(docs)?.[1] ?? "";
  const rig = new Rig();
  await rig.enrolled();
  const view = await rig.viewed();
  await rig.device.approveWithCode(view, rig.code());
  rig.hsm.signIntent(WHOSE.tenant, WHOSE.account, view.intent);
  const { file } = await rig.device.receipt(WHOSE, view.intent, view);
  assert.equal(JSON.stringify(file).replace(/"[0-9a-f]{64,}"/g, '"…"'), form);
});

test("nothing is asked of an account that the device does not know, or whose name is none", async () => {
  const rig = new Rig();
  await notPossible(rig.device.account(WHOSE), "not-enrolled");
  await notPossible(rig.device.account({ tenant: "Acme", account: "a" }), "malformed-name");
  await notPossible(rig.device.account({ tenant: "acme", account: "a/b" }), "malformed-name");
  await notPossible(rig.device.viewIntent(WHOSE, random(15)), "malformed-link");
  assert.equal(rig.hsm.requests, 0);
});

test("a transport that fails is told apart from an HSM that refuses", async () => {
  const rig = new Rig();
  const transport = { send: () => Promise.reject(new Unreachable("down")) };
  const device = new Device({ transport, keyStore: rig.keyStore, rootFingerprint: rig.hsm.fingerprint });
  await assert.rejects(device.identity(), Unreachable);
  await assert.rejects(device.identity(), (error) => !(error instanceof NotTrusted));
});

test("a summary shows all of its lines, the warnings apart", () => {
  assert.deepEqual(summaryLines(SUMMARY), {
    warnings: ["the payee is new"],
    lines: [
      { label: "sign", text: "transfer on Ethereum (eip155:1)" },
      { label: "to", text: "0xAbC" },
      { label: "amount", text: "1.5 ETH" },
    ],
  });
  assert.deepEqual(summaryLines("no label\na: b: c").lines, [{ label: "", text: "no label" }, { label: "a", text: "b: c" }]);
});

test("a passkey alone looks and approves, on a device that knows nothing of the account", async () => {
  const rig = new Rig();
  const passkey = new SoftPasskey();
  await rig.enrolled([passkey.register]);
  const { intent } = await rig.viewed();
  await rig.keyStore.remove(WHOSE.tenant, WHOSE.account);
  const view = await rig.device.viewIntent(WHOSE, intent);
  await notPossible(rig.device.approveWithCode(view, rig.code()), "not-enrolled");
  await notPossible(rig.device.decline(view), "not-enrolled");
  await rig.device.approveWithPasskey(view, (challenge, known) => {
    assert.deepEqual(known, []);
    return passkey.ask(challenge, known);
  });
  rig.hsm.signIntent(WHOSE.tenant, WHOSE.account, intent);
  assert.equal((await rig.device.receipt(WHOSE, intent, view)).receipt.approval, "passkey");
  await notTrusted(rig.newDevice("00".repeat(32)).viewIntent(WHOSE, intent), "wrong-root");
});

test("what was approved and not signed yet can be taken back", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const view = await rig.viewed();
  await rig.device.approveWithCode(view, rig.code());
  const approved = await rig.device.viewIntent(WHOSE, view.intent);
  assert.equal(approved.state, "approved");
  await rig.device.decline(approved);
  assert.throws(() => rig.hsm.signIntent(WHOSE.tenant, WHOSE.account, view.intent), /approval-missing/);
});

test("no code and no approval goes to an image that the user was not told about; freezing does", async () => {
  const rig = new Rig();
  const passkey = new SoftPasskey();
  await rig.enrolled([passkey.register]);
  assert.equal(await rig.device.changedImage(WHOSE), null);
  rig.hsm.replaceImage();
  const device = rig.newDevice();
  const view = await device.viewIntent(WHOSE, rig.hsm.stage(WHOSE.tenant, WHOSE.account, { summary: SUMMARY }));
  const before = rig.hsm.requests;
  await notPossible(device.approveWithCode(view, rig.code()), "image-changed");
  await notPossible(device.approveWithPasskey(view, passkey.ask), "image-changed");
  await notPossible(device.unlock(WHOSE, "123456", "123456"), "image-changed");
  assert.equal(rig.hsm.requests, before, "nothing was sent");
  const changed = await device.changedImage(WHOSE);
  assert.deepEqual([...(changed?.now ?? [])], [...rig.hsm.measurement]);
  await notTrusted(device.acceptImage(WHOSE, random(48)), "other-image");
  await device.acceptImage(WHOSE, rig.hsm.measurement);
  assert.equal(await device.changedImage(WHOSE), null);
  await device.approveWithCode(view, rig.code());
  rig.hsm.replaceImage();
  await rig.newDevice().freeze(WHOSE);
});

test("an account stays with the root that it was enrolled under", async () => {
  const rig = new Rig();
  await rig.enrolled();
  await notTrusted(rig.newDevice("00".repeat(32)).account(WHOSE), "wrong-root");
});

test("an address that does not belong to its key is not shown, and keeps nobody from freezing", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const key = ["alice@example.org/ethereum", random(16), newKey().point, ["ethereum"], "code", "", "", "0xdead", ""];
  rig.lieAbout(12, [key]);
  const [shown] = (await rig.device.account(WHOSE)).keys;
  assert.deepEqual([shown?.addressFits, shown?.address, shown?.xpub], [false, "", ""]);
  rig.lieAbout(12, ["no keys at all"]);
  await notTrusted(rig.device.account(WHOSE), "malformed-statement");
  await rig.device.freeze(WHOSE);
  assert.equal(rig.hsm.accountOf(WHOSE.tenant, WHOSE.account).state, "frozen");
});

test("an act is bound to a view of this account, of this HSM, and of now", async () => {
  const rig = new Rig();
  await rig.enrolled();
  for (const [at, value, word] of [[1, random(16), "other-hsm"], [3, "bob", "other-account"], [4, random(32), "stale-answer"], [8, random(16), "malformed-statement"]] as const) {
    rig.lieAbout(at, value);
    await notTrusted(rig.device.freeze(WHOSE), word);
  }
});

test("evidence is made without being sent, and travels as a context PIN", async () => {
  const rig = new Rig();
  const passkey = new SoftPasskey();
  await rig.enrolled([passkey.register]);
  const view = await rig.viewed();
  const before = rig.hsm.requests;
  for (const evidence of [await rig.device.sealedEvidence(view, rig.code()), await rig.device.passkeyEvidence(view, passkey.ask)]) {
    const pin = contextPin(view.intent, evidence);
    assert.match(pin, /^csa1_[A-Za-z0-9_-]+$/);
    const bytes = Buffer.from(pin.slice(5), "base64url");
    const map = decodeCbor(bytes, { useMaps: true }) as Map<string, unknown>;
    assert.deepEqual([...map.keys()], ["intent", "evidence"]);
    assert.ok(Buffer.from(map.get("intent") as Uint8Array).equals(view.intent));
    assert.deepEqual(map.get("evidence"), evidence);
    assert.ok(encodePlain(map as unknown as Plain).equals(bytes), "in canonical form");
  }
  assert.equal(rig.hsm.requests, before, "nothing was sent");
  assert.throws(() => contextPin(random(15), new Map()), /link/);
});

test("refuses what goes beyond the contract's bounds", async () => {
  const rig = new Rig();
  await rig.enrolled();
  const of = (count: number, value: Plain): Plain[] => Array.from({ length: count }, () => value);
  const inView: [number, Plain, Plain][] = [
    [8, "m".repeat(64), "m".repeat(65)],
    [9, of(256, random(32)), of(257, random(32))],
    [10, `a: ${"é".repeat(16_382)}`, `a: ${"é".repeat(16_383)}`],
  ];
  for (const [at, most, more] of inView) {
    rig.lieAbout(at, most);
    await rig.viewed();
    rig.lieAbout(at, more);
    await notTrusted(rig.viewed(), "malformed-statement");
  }
  rig.hsm.accountOf(WHOSE.tenant, WHOSE.account).intents.length = 0;
  const intent: Plain = [random(16), "open", 1];
  const entry = (headline: string): Plain => [1, 2, "code", "a/k", random(32), headline];
  const key = (mechanisms: Plain[], path = ""): Plain => [`${WHOSE.account}/k`, random(16), newKey().point, mechanisms, "code", "", path, "", ""];
  const inAccount: [number, Plain, Plain][] = [
    [10, of(4, intent), of(5, intent)],
    [11, of(8, entry("h".repeat(96))), of(9, entry("h"))],
    [11, [entry("h")], [entry("h".repeat(97))]],
    [12, of(16, key(of(16, "message"), "p".repeat(256))), of(17, key(["message"]))],
    [12, [], [key(of(17, "message"))]],
    [12, [], [key(["message"], "p".repeat(257))]],
  ];
  for (const [at, most, more] of inAccount) {
    rig.lieAbout(at, most);
    await rig.device.account(WHOSE);
    rig.lieAbout(at, more);
    await notTrusted(rig.device.account(WHOSE), "malformed-statement");
  }
  rig.hsm.alter = { answer: () => plainMap({ view: plainMap({ statement: Buffer.alloc(131_073), signature: Buffer.alloc(64) }) }) };
  await notTrusted(rig.device.account(WHOSE), "malformed-statement");
});
