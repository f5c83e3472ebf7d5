/** P-256 by Node's own crypto, for the test double: keys, low-S signatures, verification. */

import { createECDH, createHash, createPrivateKey, createPublicKey, sign, verify, type KeyObject } from "node:crypto";

export interface NodeKey {
  readonly point: Buffer;
  readonly privateKey: KeyObject;
}

const ORDER = BigInt("0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");

/**
 * Not by `generateKeyPairSync` and an export as JWK: Node 18 and 20 hold the key's lock while they make the object, and a
 * collection of garbage in between that meets the job which made the key waits for that lock for ever.
 */
export function newKey(): NodeKey {
  const pair = createECDH("prime256v1");
  const point = pair.generateKeys();
  const scalar = Buffer.alloc(32);
  const digits = pair.getPrivateKey();
  digits.copy(scalar, scalar.length - digits.length);
  return keyOf(scalar, point);
}

export const sha256 = (...parts: readonly Uint8Array[]): Buffer =>
  parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest();

function lowered(signature: Buffer): Buffer {
  const s = BigInt(`0x${signature.subarray(32).toString("hex")}`);
  if (s <= (ORDER - 1n) / 2n) return signature;
  return Buffer.concat([signature.subarray(0, 32), Buffer.from((ORDER - s).toString(16).padStart(64, "0"), "hex")]);
}

/** The same signature in its other form. */
export function highS(signature: Uint8Array): Buffer {
  const s = BigInt(`0x${Buffer.from(signature.subarray(32)).toString("hex")}`);
  return Buffer.concat([signature.subarray(0, 32), Buffer.from((ORDER - s).toString(16).padStart(64, "0"), "hex")]);
}

export function signLow(key: NodeKey, statement: Uint8Array): Buffer {
  return lowered(sign("sha256", statement, { key: key.privateKey, dsaEncoding: "ieee-p1363" }));
}

export function verifies(point: Uint8Array, statement: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== 64 || !lowered(Buffer.from(signature)).equals(signature)) return false;
  return verify("sha256", statement, { key: publicKey(point), dsaEncoding: "ieee-p1363" }, signature);
}

export function verifiesDer(point: Uint8Array, statement: Uint8Array, signature: Uint8Array): boolean {
  return verify("sha256", statement, { key: publicKey(point), dsaEncoding: "der" }, signature);
}

function jwkOf(point: Uint8Array): { kty: string; crv: string; x: string; y: string } {
  const coordinate = (from: number): string => Buffer.from(point.subarray(from, from + 32)).toString("base64url");
  return { kty: "EC", crv: "P-256", x: coordinate(1), y: coordinate(33) };
}

function publicKey(point: Uint8Array): KeyObject {
  return createPublicKey({ format: "jwk", key: jwkOf(point) });
}

/** A private key from its scalar and point. */
export function keyOf(scalar: Uint8Array, point: Uint8Array): NodeKey {
  const jwk = { ...jwkOf(point), d: Buffer.from(scalar).toString("base64url") };
  return { point: Buffer.from(point), privateKey: createPrivateKey({ format: "jwk", key: jwk }) };
}
