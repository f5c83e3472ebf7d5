/** P-256 by Node's own crypto, for the test double: keys, low-S signatures, verification. */

import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from "node:crypto";

export interface NodeKey {
  readonly point: Buffer;
  readonly privateKey: KeyObject;
}

const ORDER = BigInt("0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");

export function newKey(): NodeKey {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const { x = "", y = "" } = privateKey.export({ format: "jwk" });
  return { privateKey, point: Buffer.concat([Buffer.from([4]), Buffer.from(x, "base64url"), Buffer.from(y, "base64url")]) };
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

function publicKey(point: Uint8Array): KeyObject {
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => Buffer.from(part).toString("base64url"));
  return createPublicKey({ format: "jwk", key: { kty: "EC", crv: "P-256", x: x ?? "", y: y ?? "" } });
}

/** A private key from its scalar and point. */
export function keyOf(scalar: Uint8Array, point: Uint8Array): NodeKey {
  const { x, y } = publicKey(point).export({ format: "jwk" });
  const d = Buffer.from(scalar).toString("base64url");
  const jwk = { kty: "EC", crv: "P-256", x: x ?? "", y: y ?? "", d };
  return { point: Buffer.from(point), privateKey: createPrivateKey({ format: "jwk", key: jwk }) };
}
