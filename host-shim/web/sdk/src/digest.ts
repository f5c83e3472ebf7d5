/** The intent hash and the approval digest: what a device or a passkey approves. Always worked out here, never taken from anybody. */

import { sha256, type Bytes } from "./bytes.js";
import { encode } from "./cbor.js";

/** What an approval is for. */
export type Purpose = "sign" | "payee" | "decline" | "confirm" | "unlock" | "freeze" | "cancel-recovery";

/** What an approval digest is over. `keyId` and `intentHash` are empty where the purpose has none. */
export interface Approval {
  readonly purpose: Purpose;
  readonly hsm: Uint8Array;
  readonly tenant: string;
  readonly account: string;
  readonly keyId: Uint8Array;
  readonly intentHash: Uint8Array;
  /** Seconds since 1970 by the HSM's clock. */
  readonly expires: number;
  readonly nonce: Uint8Array;
}

export function intentHash(mechanism: string, digests: readonly Uint8Array[], summary: string): Promise<Bytes> {
  return sha256(encode(["countersign intent v1", mechanism, digests, summary]));
}

export function approvalDigest(approval: Approval): Promise<Bytes> {
  const { purpose, hsm, tenant, account, keyId, intentHash, expires, nonce } = approval;
  return sha256(
    encode(["countersign approval v1", purpose, hsm, tenant, account, keyId, intentHash, expires, nonce]),
  );
}

/** What the device key signs; `sealed` is empty, or what `sealDigest` gives. */
export function deviceStatement(digest: Uint8Array, sealed: Uint8Array): Bytes {
  return encode(["countersign device v1", digest, sealed]);
}

/** What is sealed to the HSM: one code, or two of consecutive time steps. */
export function codeStatement(digest: Uint8Array, codes: readonly string[]): Bytes {
  return encode(["countersign code v1", digest, codes]);
}

/** The info of HPKE for sealed codes. */
export const CODE_INFO = "countersign sealed code v1";

/** What a new passkey is registered with as its challenge. */
export function registrationChallenge(
  hsm: Uint8Array,
  tenant: string,
  account: string,
  invitation: Uint8Array,
  deviceKey: Uint8Array,
): Promise<Bytes> {
  return sha256(encode(["countersign passkey registration v1", hsm, tenant, account, invitation, deviceKey]));
}

/** What the device key signs to look at its account. */
export function accountRequest(hsm: Uint8Array, tenant: string, account: string, nonce: Uint8Array): Bytes {
  return encode(["countersign account request v1", hsm, tenant, account, nonce]);
}
