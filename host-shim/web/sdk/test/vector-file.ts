/** `docs/approvals-vectors.json`, which the plugin's crate makes; its `kinds` say what each vector holds. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fromHex, toHex, type Bytes } from "../src/bytes.js";
import { keyOf } from "./p256.js";

const FILE = new URL("../../../../../docs/approvals-vectors.json", import.meta.url);

export interface Vector {
  readonly name: string;
  readonly kind: string;
  /** What it says, in order: byte strings in hex, arrays as arrays. */
  readonly fields: Readonly<Record<string, unknown>>;
  readonly bytes: string;
  readonly statement?: string;
  readonly signed_by?: string;
  readonly signature?: string;
  readonly preimage?: string;
  readonly must: "accept" | "refuse";
}

interface VectorFile {
  readonly keys: Readonly<Record<string, string>>;
  readonly vectors: readonly Vector[];
}

function read(): VectorFile {
  try {
    return JSON.parse(readFileSync(FILE, "utf8")) as VectorFile;
  } catch (cause) {
    throw new Error(`docs/approvals-vectors.json is not there or not JSON; the plugin's approvals crate makes it (${String(cause)})`);
  }
}

/** The vectors of a kind; there has to be one. */
export function vectors(kind: string, must?: Vector["must"]): readonly Vector[] {
  const found = read().vectors.filter((vector) => vector.kind === kind && (must === undefined || vector.must === must));
  assert.ok(found.length > 0, `the file has no vectors of kind ${kind}`);
  return found;
}

export function named(name: string): Vector {
  const found = read().vectors.find((vector) => vector.name === name);
  assert.ok(found !== undefined, `the file has no vector named ${name}`);
  return found;
}

/** A text of the file's keys: `root_public`, `device_scalar`, `root_fingerprint`, … */
export function key(name: string): string {
  const found = read().keys[name];
  assert.ok(found !== undefined, `the file has no key named ${name}`);
  return found;
}

export function point(name: string): Bytes {
  return fromHex(key(`${name}_public`));
}

/** A key pair of the file for WebCrypto's ECDH. */
export async function sealingPair(name: string): Promise<CryptoKeyPair> {
  const jwk = keyOf(fromHex(key(`${name}_scalar`)), point(name)).privateKey.export({ format: "jwk" }) as JsonWebKey;
  const algorithm = { name: "ECDH", namedCurve: "P-256" };
  const privateKey = await crypto.subtle.importKey("jwk", jwk, algorithm, false, ["deriveBits"]);
  return { privateKey, publicKey: await crypto.subtle.importKey("raw", point(name), algorithm, true, []) };
}

/** A field that is bytes, or a text. */
export function bytesField(vector: Vector, name: string): Bytes {
  return fromHex(textField(vector, name));
}

export function textField(vector: Vector, name: string): string {
  const value = vector.fields[name];
  assert.ok(typeof value === "string", `${vector.name}: ${name}`);
  return value;
}

/** As the file writes it. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return toHex(value);
  return Array.isArray(value) ? value.map(plain) : value;
}
