/** What the test double keeps of an account. */

import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { randomBytes } from "node:crypto";
import { sha256 } from "./p256.js";
import { encodePlain, type Plain } from "./plain-cbor.js";

export interface FakePasskey {
  readonly credentialId: Buffer;
  readonly point: Buffer;
  readonly rpId: string;
  readonly origin: string;
  readonly backupEligible: boolean;
}

export interface FakeIntent {
  readonly id: Buffer;
  readonly purpose: string;
  readonly key: string;
  readonly keyId: Buffer;
  readonly mechanism: string;
  readonly digests: readonly Buffer[];
  readonly summary: string;
  readonly nonce: Buffer;
  readonly expires: number;
  state: "open" | "approved" | "signed" | "declined";
  approval: string;
  receipt?: { counter: number; time: number };
}

export interface FakeAccount {
  readonly tenant: string;
  readonly account: string;
  readonly key: { readonly floor: string; readonly publicKey: Buffer; readonly keyId: Buffer; readonly address: string };
  readonly secret: Buffer;
  device: Buffer;
  passkeys: FakePasskey[];
  state: "open" | "confirmed" | "frozen";
  actNonce: Buffer;
  usedStep: number;
  lockedUntil: number;
  recovering: boolean;
  signatures: number;
  readonly intents: FakeIntent[];
  readonly entries: { counter: number; time: number; intent: FakeIntent }[];
}

export interface Staged {
  readonly purpose?: string;
  readonly mechanism?: string;
  readonly digests?: readonly Buffer[];
  readonly summary: string;
  readonly expiresIn?: number;
}

export function newAccount(tenant: string, account: string, floor: string): FakeAccount {
  const publicKey = Buffer.from(secp256k1.getPublicKey(secp256k1.utils.randomSecretKey(), false));
  return {
    tenant,
    account,
    key: { floor, publicKey, keyId: randomBytes(16), address: checksummed(publicKey) },
    secret: randomBytes(20),
    device: Buffer.alloc(0),
    passkeys: [],
    state: "open",
    actNonce: randomBytes(32),
    usedStep: 0,
    lockedUntil: 0,
    recovering: false,
    signatures: 0,
    intents: [],
    entries: [],
  };
}

/** EIP-55, by numbers instead of letters. */
function checksummed(publicKey: Buffer): string {
  const address = Buffer.from(keccak_256(publicKey.subarray(1)).subarray(12)).toString("hex");
  const hash = Buffer.from(keccak_256(Buffer.from(address, "ascii")));
  const up = (i: number): boolean => (((hash[i >> 1] ?? 0) >> (i % 2 === 0 ? 4 : 0)) & 8) !== 0;
  return `0x${address.replace(/[a-f]/g, (letter, i: number) => (up(i) ? letter.toUpperCase() : letter))}`;
}

export function keyFields(account: FakeAccount): Plain[] {
  const { publicKey, keyId, floor, address } = account.key;
  return [`${account.account}/ethereum`, keyId, publicKey, ["ethereum"], floor, "", "", address, ""];
}

export function stageIn(account: FakeAccount, staged: Staged, now: number): Buffer {
  const payee = staged.purpose === "payee";
  const intent: FakeIntent = {
    id: randomBytes(16),
    purpose: staged.purpose ?? "sign",
    key: payee ? "" : `${account.account}/ethereum`,
    keyId: payee ? Buffer.alloc(0) : account.key.keyId,
    mechanism: staged.mechanism ?? (payee ? "payee" : "ethereum"),
    digests: payee ? [] : (staged.digests ?? [randomBytes(32)]),
    summary: staged.summary,
    nonce: randomBytes(32),
    expires: now + (staged.expiresIn ?? 600),
    state: "open",
    approval: "sealed-code",
  };
  account.intents.push(intent);
  return intent.id;
}

export function hashOf(intent: FakeIntent): Buffer {
  return sha256(encodePlain(["countersign intent v1", intent.mechanism, intent.digests, intent.summary]));
}
