import assert from "node:assert/strict";
import { test } from "node:test";
import { fromHex, toHex } from "../src/bytes.js";
import { decode, encode, message } from "../src/cbor.js";
import { NotTrusted } from "../src/errors.js";
import { Fields, messageOf, pointOf } from "../src/fields.js";

const malformed = (hex: string): void => {
  assert.throws(() => decode(fromHex(hex)), (error) => error instanceof NotTrusted && error.word === "malformed-statement", hex);
};

test("what is encoded is in the shortest form, and decodes to itself", () => {
  // RFC 8949 appendix A.
  const vectors: [Parameters<typeof encode>[0], string][] = [
    [0, "00"],
    [23, "17"],
    [24, "1818"],
    [1000, "1903e8"],
    [1_000_000, "1a000f4240"],
    [1_000_000_000_000, "1b000000e8d4a51000"],
    [false, "f4"],
    [true, "f5"],
    [null, "f6"],
    ["IETF", "6449455446"],
    ["\u00fc", "62c3bc"],
    ["\u{10151}", "64f0908591"],
    [fromHex("01020304"), "4401020304"],
    [[1, [2, 3], [4, 5]], "8301820203820405"],
    [message({}), "a0"],
    [message({ a: 1, b: [2, 3] }), "a26161016162820203"],
  ];
  for (const [value, hex] of vectors) {
    assert.equal(toHex(encode(value)), hex);
    assert.deepEqual(decode(fromHex(hex)), value);
  }
});

test("maps keep the order they are given in", () => {
  assert.equal(toHex(encode(message({ zz: 1, a: 2 }))), "a2627a7a01616102");
  assert.deepEqual([...(decode(fromHex("a2627a7a01616102")) as Map<string, number>).keys()], ["zz", "a"]);
});

test("refuses integers and lengths that are not shortest", () => {
  for (const hex of ["1800", "190017", "1a00000001", "1b0000000000000001", "580101", "780161", "980100", "b8016161" + "01"]) {
    malformed(hex);
  }
});

test("refuses indefinite lengths, tags, floats, undefined and other simple values", () => {
  for (const hex of ["5f4101ff", "7f6161ff", "9f01ff", "bf616101ff", "c100", "d81800", "f90000", "fb3ff8000000000000", "f97e00"]) {
    malformed(hex);
  }
  for (const hex of ["f7", "e0", "f820", "20", "3903e7"]) malformed(hex);
});

test("refuses integers beyond what is counted exactly", () => {
  assert.equal(decode(fromHex("1b001fffffffffffff")), Number.MAX_SAFE_INTEGER);
  malformed("1b0020000000000000");
  malformed("1bffffffffffffffff");
});

test("refuses a map with a key twice, or with a key that is no text", () => {
  for (const hex of ["a2616101616102", "a10102", "a1410102"]) malformed(hex);
});

test("refuses text that is not UTF-8, truncation, trailing bytes and nothing at all", () => {
  for (const hex of ["61ff", "62c328", "44010203", "820100" + "00", "8201", ""]) malformed(hex);
});

test("refuses nesting that is too deep, and more bytes than any answer has", () => {
  malformed("81".repeat(13) + "00");
  malformed("81".repeat(200_000) + "00");
  malformed("5a00100000" + "00".repeat(1 << 20));
  assert.equal((decode(fromHex("5a000f0000" + "00".repeat(0xf0000))) as Uint8Array).length, 0xf0000);
});

test("never encodes what the protocol does not have", () => {
  for (const value of [1.5, -1, -0, NaN, 2 ** 53, "\ud800", undefined, { a: 1 }, 1n]) {
    assert.throws(() => encode(value as never), TypeError);
  }
});

test("fields are read with their type, their length and their count, or not at all", () => {
  const value = [fromHex("0102"), "text", 7, true, [fromHex("00".repeat(32))]] as const;
  const fields = new Fields(value, "test", 5);
  assert.deepEqual([fields.bytes(2), fields.text(), fields.uint(), fields.bool()], [value[0], "text", 7, true]);
  assert.equal(fields.digests().length, 1);
  assert.throws(() => fields.uint(), NotTrusted);
  assert.throws(() => new Fields(value, "test", 4), NotTrusted);
  assert.throws(() => new Fields("no array", "test", 4), NotTrusted);
  assert.throws(() => new Fields([fromHex("01")], "test", 1).bytes(2), NotTrusted);
  assert.throws(() => new Fields([1], "test", 1).bytes(), NotTrusted);
  assert.throws(() => new Fields([1], "test", 1).text(), NotTrusted);
  assert.throws(() => new Fields([null], "test", 1).uint(), NotTrusted);
  assert.throws(() => new Fields([1], "test", 1).bool(), NotTrusted);
  assert.throws(() => new Fields(["c"], "test", 1).oneOf(["a", "b"] as const), NotTrusted);
  assert.throws(() => new Fields([[fromHex("00")]], "test", 1).digests(), NotTrusted);
  assert.throws(() => new Fields([[1, 2]], "test", 1).list(1, (x) => x), NotTrusted);
});

test("a message has exactly its fields, in their order", () => {
  const given = message({ a: 1, b: 2 });
  assert.equal(messageOf(given, "test", ["a", "b"]), given);
  for (const names of [["b", "a"], ["a"], ["a", "b", "c"]]) assert.throws(() => messageOf(given, "test", names), NotTrusted);
  assert.throws(() => messageOf([1], "test", []), NotTrusted);
});

test("a point has 65 bytes, the first 04", () => {
  assert.throws(() => pointOf(fromHex("02" + "00".repeat(64)), "test"), NotTrusted);
  assert.throws(() => pointOf(fromHex("04" + "00".repeat(63)), "test"), NotTrusted);
});
