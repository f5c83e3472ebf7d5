/** The HSM's identity, and the statements that are signed with it. */

import { equal, sha256, toHex, type Bytes } from "./bytes.js";
import { decode, type Message, type Value } from "./cbor.js";
import { NotTrusted } from "./errors.js";
import { bytesOf, bytesUpTo, Fields, MOST, messageOf, pointOf } from "./fields.js";
import { assertSigned } from "./signature.js";

/** A statement and its signature, as they travel. Nothing is verified yet. */
export interface Signed {
  readonly statement: Bytes;
  readonly signature: Bytes;
}

/** An identity as it travels. Nothing is verified yet. */
export interface SignedIdentity extends Signed {
  readonly root: Bytes;
}

/** What the pinned root endorsed. Holding one proves that it was verified down from the root. */
export interface Identity {
  readonly hsm: Bytes;
  readonly measurement: Bytes;
  readonly clock: "system" | "manual";
  readonly signingKey: Bytes;
  readonly sealingKey: Bytes;
  readonly signed: SignedIdentity;
}

export function readSigned(value: Value | undefined, what: string): Signed {
  const fields = messageOf(value, what, ["statement", "signature"]);
  return signedOf(fields, what);
}

export function readSignedIdentity(value: Value | undefined): SignedIdentity {
  const fields = messageOf(value, "identity", ["statement", "signature", "root"]);
  return { ...signedOf(fields, "identity"), root: pointOf(fields.get("root"), "root") };
}

function signedOf(fields: Message, what: string): Signed {
  return {
    statement: bytesUpTo(fields.get("statement"), `${what} statement`, MOST.statement),
    signature: bytesOf(fields.get("signature"), `${what} signature`, 64),
  };
}

/** SHA-256 of the root's 65 bytes, in lowercase hex: what a user pins. */
export async function fingerprint(root: Uint8Array): Promise<string> {
  return toHex(await sha256(root));
}

/** Checks an identity against the pinned root's fingerprint (64 lowercase hex digits). */
export async function verifyIdentity(signed: SignedIdentity, pinned: string): Promise<Identity> {
  if ((await fingerprint(signed.root)) !== pinned) throw new NotTrusted("wrong-root");
  await assertSigned(signed.root, signed.statement, signed.signature);
  const fields = new Fields(decode(signed.statement), "identity", 6);
  assertKind(fields, "countersign identity v1");
  return {
    hsm: fields.bytes(16),
    measurement: fields.bytes(48),
    clock: fields.oneOf(["system", "manual"] as const),
    signingKey: pointOf(fields.bytes(65), "signing key"),
    sealingKey: pointOf(fields.bytes(65), "sealing key"),
    signed,
  };
}

/** Verifies a signed statement and opens it: `count` fields, the first of which is `kind`. */
export async function openStatement(identity: Identity, signed: Signed, kind: string, count: number): Promise<Fields> {
  await assertSigned(identity.signingKey, signed.statement, signed.signature);
  const value = decode(signed.statement);
  // The kind comes first, so that another statement of the same HSM is named as what it is.
  if (Array.isArray(value) && value[0] !== kind) throw new NotTrusted("malformed-statement", `not a ${kind}`);
  const fields = new Fields(value, kind, count);
  assertKind(fields, kind);
  return fields;
}

function assertKind(fields: Fields, kind: string): void {
  if (fields.text() !== kind) throw new NotTrusted("malformed-statement", `not a ${kind}`);
}

/** Whose statement it has to be. */
export interface Whose {
  readonly tenant: string;
  readonly account: string;
}

/** Reads hsm and compares it. */
export function expectHsm(fields: Fields, identity: Identity): void {
  if (!equal(fields.bytes(16), identity.hsm)) throw new NotTrusted("other-hsm");
}

/** Reads the measurement and compares it. */
export function expectMeasurement(fields: Fields, identity: Identity): void {
  if (!equal(fields.bytes(48), identity.measurement)) throw new NotTrusted("other-image");
}

/** Reads tenant and account and compares them. */
export function expectAccount(fields: Fields, whose: Whose): void {
  if (fields.text() !== whose.tenant) throw new NotTrusted("other-account");
  if (fields.text() !== whose.account) throw new NotTrusted("other-account");
}

/** Reads the device's nonce and compares it: an answer to another question, or an old one, has another. */
export function expectNonce(fields: Fields, nonce: Uint8Array): void {
  if (!equal(fields.bytes(32), nonce)) throw new NotTrusted("stale-answer");
}
