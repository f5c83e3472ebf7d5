import assert from "node:assert/strict";
import { sign as nodeSign } from "node:crypto";
import { test } from "node:test";
import { toHex } from "../src/bytes.js";
import { NotTrusted } from "../src/errors.js";
import { generateDeviceKeys, publicPoint } from "../src/keys.js";
import { assertSigned, derToLowS, isLowS, sign, toLowS } from "../src/signature.js";
import { highS, newKey, signLow, verifiesDer } from "./p256.js";

const HALF = "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8";
const ORDER = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
const ONE = "01".padStart(64, "0");
const bytes = (...hex: string[]): Uint8Array => new Uint8Array(Buffer.from(hex.join(""), "hex"));

test("every signature of the device has s in the lower half, and verifies", async () => {
  const { signing } = await generateDeviceKeys();
  for (let i = 0; i < 24; i++) {
    const signature = await sign(signing.privateKey, bytes(ONE));
    assert.ok(isLowS(signature));
    await assertSigned(await publicPoint(signing), bytes(ONE), signature);
  }
});

test("the boundary of the lower half is (n-1)/2", () => {
  const above = (BigInt(`0x${HALF}`) + 1n).toString(16);
  assert.ok(isLowS(bytes(ONE, HALF)));
  assert.ok(!isLowS(bytes(ONE, above)));
  assert.equal(toHex(toLowS(bytes(ONE, above))), ONE + HALF);
});

test("refuses r or s that is zero or not below n", () => {
  for (const [r, s] of [["00".repeat(32), ONE], [ONE, "00".repeat(32)], [ORDER, ONE], [ONE, ORDER]] as const) {
    assert.ok(!isLowS(bytes(r, s)));
    assert.throws(() => toLowS(bytes(r, s)), RangeError);
  }
  assert.ok(!isLowS(new Uint8Array(63)));
  assert.throws(() => toLowS(new Uint8Array(65)), RangeError);
});

test("refuses a signature in its higher form, of other bytes, and by another key", async () => {
  const key = newKey();
  const statement = Buffer.from("statement");
  const signature = signLow(key, statement);
  await assertSigned(key.point, statement, signature);
  const bad = (error: unknown): boolean => error instanceof NotTrusted && error.word === "bad-signature";
  await assert.rejects(assertSigned(key.point, statement, highS(signature)), bad);
  await assert.rejects(assertSigned(key.point, Buffer.from("statemenT"), signature), bad);
  await assert.rejects(assertSigned(newKey().point, statement, signature), bad);
  await assert.rejects(assertSigned(key.point, statement, new Uint8Array(64)), bad);
});

test("refuses a key that is no point of the curve", async () => {
  const bent = Buffer.from(newKey().point);
  bent[64] = (bent[64] ?? 0) ^ 1;
  await assert.rejects(assertSigned(bent, Buffer.from("x"), new Uint8Array(64)), NotTrusted);
});

test("a passkey's signature in DER is the same in its lower form", () => {
  const key = newKey();
  for (let i = 0; i < 40; i++) {
    const statement = Buffer.from([i]);
    const lowered = derToLowS(nodeSign("sha256", statement, key.privateKey));
    assert.ok(verifiesDer(key.point, statement, lowered));
    assert.deepEqual(derToLowS(lowered), lowered);
  }
});

test("DER is lowered exactly at the boundary, and short integers stay short", () => {
  assert.equal(toHex(derToLowS(bytes("3006020101020101"))), "3006020101020101");
  const high = (BigInt(`0x${ORDER}`) - 1n).toString(16);
  assert.equal(toHex(derToLowS(bytes("3026020101022100", high))), "3006020101020101");
});

test("refuses DER in another form than the only valid one", () => {
  const bad = [
    "",
    "30",
    "3006020101020100",
    "300702010102020001",
    "3006020101020181",
    "3007020101020101",
    "300602010102010100",
    "3106020101020101",
    "3006030101020101",
    "30050201010201",
    "308106020101020101",
    "3003020101",
    "3026020101022100" + ORDER,
  ];
  for (const hex of bad) assert.throws(() => derToLowS(bytes(hex)), RangeError, hex);
});
