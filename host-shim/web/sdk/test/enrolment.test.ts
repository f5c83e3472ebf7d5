import assert from "node:assert/strict";
import { test } from "node:test";
import { random } from "../src/bytes.js";
import { readOtpauth, secsToNextCode } from "../src/otpauth.js";
import { NotTrusted } from "../src/errors.js";
import { readRegistration } from "../src/passkey.js";
import { newKey, sha256 } from "./p256.js";
import type { Plain } from "./plain-cbor.js";
import { notPossible, notTrusted, refused, Rig, WHOSE } from "./rig.js";
import { SoftPasskey } from "./soft-passkey.js";

test("enrolling gives the secret only to this device, and two codes finish it", async () => {
  const rig = new Rig();
  const opened = await rig.enrolled([new SoftPasskey().register]);
  const { secret } = rig.hsm.accountOf(WHOSE.tenant, WHOSE.account);
  assert.equal(opened.otpauth.label, "Countersign:alice@example.org");
  assert.equal(opened.receipt.passkeys.length, 1);
  assert.equal(opened.receipt.keys[0]?.key, "alice@example.org/ethereum");
  const kept = await rig.keyStore.get(WHOSE.tenant, WHOSE.account);
  assert.equal(kept?.confirmed, true);
  assert.equal(kept?.keys.signing.privateKey.extractable, false);
  assert.equal(kept?.keys.sealing.privateKey.extractable, false);
  assert.ok(!JSON.stringify(kept).includes(opened.otpauth.secret), "the secret is kept nowhere");
  assert.equal(secret.length, 20);
});

test("wrong codes leave the enrolment open", async () => {
  const rig = new Rig();
  await rig.device.enroll(rig.invited());
  await refused(rig.device.confirm(WHOSE, "000000", "000001"), "wrong-code");
  assert.equal((await rig.keyStore.get(WHOSE.tenant, WHOSE.account))?.confirmed, false);
  assert.equal((await rig.device.account(WHOSE)).state, "open");
});

test("refuses a second enrolment over a confirmed one, and invitations that are none", async () => {
  const rig = new Rig();
  await rig.enrolled();
  await notPossible(rig.device.enroll(rig.invited()), "already-enrolled");
  const fresh = new Rig();
  await refused(fresh.device.enroll({ ...WHOSE, invitation: random(16) }), "unknown-invitation");
  await notPossible(fresh.device.enroll({ ...WHOSE, invitation: random(15) }), "malformed-link");
  await notPossible(fresh.device.enroll({ ...fresh.invited(), account: "Alice" }), "malformed-name");
});

/** `Array.prototype.with`, which Node 18 does not have. */
function replaced(list: readonly Plain[], at: number, value: Plain): Plain[] {
  return list.map((old, i) => (i === at ? value : old));
}

/** Enrols while the HSM's receipt says this instead; nothing may be kept then. */
async function lied(at: number, change: (field: Plain) => Plain, word: string, passkey?: SoftPasskey): Promise<void> {
  const rig = new Rig();
  rig.hsm.alter = {
    statement: (fields) =>
      fields[0] === "countersign enrolment v1" ? fields.map((field, i) => (i === at ? change(field) : field)) : fields,
  };
  await notTrusted(rig.device.enroll(rig.invited(), passkey === undefined ? [] : [passkey.register]), word);
  assert.deepEqual(await rig.keyStore.list(), []);
}

test("refuses a receipt in which one field is not what was asked for", async () => {
  await lied(0, () => "countersign enrolment v2", "malformed-statement");
  await lied(1, () => random(16), "other-hsm");
  await lied(2, () => random(48), "other-image");
  await lied(3, () => "manual", "other-image");
  await lied(4, () => "other", "other-account");
  await lied(5, () => "bob", "other-account");
  await lied(6, () => random(32), "stale-answer");
  await lied(7, () => "now", "malformed-statement");
  await lied(8, () => random(31), "malformed-statement");
  await lied(11, () => random(32), "wrong-seal");
});

test("refuses any factor that is not its own, and misses any that is", async () => {
  const factors = (change: (list: readonly Plain[]) => Plain[]) => (field: Plain) => change(field as readonly Plain[]);
  const point = newKey().point;
  const device: Plain = ["device", sha256(point).subarray(0, 16), point];
  const totp: Plain = ["totp", "sha1", 6, 30];
  await lied(9, factors((list) => [...list, totp]), "unknown-factor");
  await lied(9, factors((list) => [...list, device]), "unknown-factor");
  await lied(9, factors(([first]) => [first ?? null, device]), "unknown-factor");
  await lied(9, factors(([first, own]) => [first ?? null, replaced(own as Plain[], 1, random(16))]), "unknown-factor");
  await lied(9, factors(([first, own]) => [first ?? null, replaced(own as Plain[], 2, point)]), "unknown-factor");
  await lied(9, factors((list) => [...list, ["officer", random(16)]]), "unknown-factor");
  await lied(9, factors(([, ...rest]) => rest), "missing-factor");
  await lied(9, factors(([first]) => [first ?? null]), "missing-factor");
  const stranger: Plain = ["passkey", random(32), point, "page.example", "https://page.example", true];
  await lied(9, factors((list) => [...list, stranger]), "unknown-factor");
  await lied(9, factors(([, ...rest]) => [["totp", "md5", 6, 30], ...rest]), "malformed-statement");
  await lied(9, factors(([, ...rest]) => [["totp", "sha1", 4, 30], ...rest]), "malformed-statement");
  await lied(9, factors(([, ...rest]) => [["totp", "sha256", 6, 30], ...rest]), "wrong-seal");
});

test("refuses its own passkey under another key, id, site or backup flag, and misses it", async () => {
  const changed = (at: number, value: Plain) => (field: Plain) =>
    (field as readonly (readonly Plain[])[]).map((factor) =>
      factor[0] === "passkey" ? factor.map((old, i) => (i === at ? value : old)) : factor,
    );
  await lied(9, changed(1, random(32)), "unknown-factor", new SoftPasskey());
  await lied(9, changed(2, newKey().point), "unknown-factor", new SoftPasskey());
  await lied(9, changed(3, "example"), "unknown-factor", new SoftPasskey());
  await lied(9, changed(4, "https://other.example"), "unknown-factor", new SoftPasskey());
  await lied(9, changed(5, false), "unknown-factor", new SoftPasskey());
  await lied(9, (field) => (field as readonly Plain[]).slice(0, 2), "missing-factor", new SoftPasskey());
});

test("refuses an address that its key does not give", async () => {
  const key = (change: (fields: Plain[]) => Plain[]) => (field: Plain) =>
    (field as readonly (readonly Plain[])[]).map((fields) => change([...fields]));
  await lied(10, key((fields) => replaced(fields, 7, "0x000000000000000000000000000000000000dEaD")), "wrong-address");
  await lied(10, key((fields) => replaced(fields, 7, "")), "wrong-address");
  await lied(10, key((fields) => replaced(fields, 7, String(fields[7]).toLowerCase())), "wrong-address");
  await lied(10, key((fields) => replaced(fields, 0, "bob/ethereum")), "other-account");
  await lied(10, key((fields) => replaced(fields, 4, "none")), "malformed-statement");
});

test("refuses a sealed secret that was changed on its way", async () => {
  const rig = new Rig();
  rig.hsm.alter = {
    answer: (answer) => {
      if (!(answer instanceof Map) || !answer.has("enrolled-sealed")) return answer;
      const fields = new Map(answer.get("enrolled-sealed") as ReadonlyMap<string, Plain>);
      const changed = Buffer.from(fields.get("ciphertext") as Uint8Array);
      changed[0] = (changed[0] ?? 0) ^ 1;
      return new Map([["enrolled-sealed", fields.set("ciphertext", changed)]]);
    },
  };
  await notTrusted(rig.device.enroll(rig.invited()), "wrong-seal");
});

test("the otpauth URI has to say what the receipt says", () => {
  const totp = { hash: "sha1", digits: 6, periodSecs: 30 } as const;
  const secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
  const uri = (query: string): string => `otpauth://totp/Countersign:a%40b?${query}`;
  assert.equal(readOtpauth(uri(`secret=${secret}&issuer=Countersign&algorithm=SHA1&digits=6&period=30`), totp).label, "Countersign:a@b");
  assert.equal(readOtpauth(uri(`secret=${secret}`), totp).secret, secret);
  const bad = [
    `secret=${secret}&digits=8`,
    `secret=${secret}&period=60`,
    `secret=${secret}&algorithm=SHA256`,
    `secret=${secret}&secret=${secret}`,
    "secret=short",
    "issuer=Countersign",
  ].map(uri);
  for (const each of [...bad, "https://example.org/?secret=x", `otpauth://hotp/x?secret=${secret}`]) {
    assert.throws(() => readOtpauth(each, totp), NotTrusted, each);
  }
});

test("the next code comes at the next multiple of the period", () => {
  assert.deepEqual([secsToNextCode(59, 30), secsToNextCode(60, 30), secsToNextCode(61.9, 60)], [1, 30, 59]);
});

test("a passkey that did not verify its user, is not ES256, or is followed by anything but extension data is not registered", () => {
  const client = Buffer.from(JSON.stringify({ type: "webauthn.create", origin: "https://page.example" }));
  const good = new SoftPasskey().registrationData();
  assert.equal(readRegistration(client, good).publicKey.length, 65);
  const extended = Buffer.concat([good, Buffer.from("a16b6372656450726f7465637402", "hex")]);
  extended[32] = 0xcd;
  assert.equal(readRegistration(client, extended).publicKey.length, 65);
  const changed = (at: number, byte: number): Uint8Array => new Uint8Array(good.map((old, i) => (i === at ? byte : old)));
  const bad = [changed(32, 0x41), changed(32, 0x44), changed(32, 0x0d), changed(32, 0xcd), changed(54, 0)];
  bad.push(changed(good.length - 73, 0x27), good.subarray(0, -1), Buffer.concat([good, Buffer.from([0])]));
  for (const data of bad) assert.throws(() => readRegistration(client, data), /passkey/);
});
