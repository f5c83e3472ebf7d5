/** A key of an account, as receipts and account views have it. Its address is checked against the key itself before it is shown. */

import { assertAddress } from "./address.js";
import type { Bytes } from "./bytes.js";
import type { Value } from "./cbor.js";
import { NotTrusted } from "./errors.js";
import { Fields, MOST, pointOf, textOf } from "./fields.js";
import { isKeyOf } from "./names.js";
import { FLOORS, type Floor } from "./view.js";

export type Network = "" | "main" | "test" | "signet" | "regtest";

export interface AccountKey {
  /** `ACCOUNT/KEY`. */
  readonly key: string;
  readonly keyId: Bytes;
  /** On secp256k1. */
  readonly publicKey: Bytes;
  readonly mechanisms: readonly string[];
  readonly floor: Floor;
  readonly network: Network;
  readonly path: string;
  /** Empty where it has none. */
  readonly address: string;
  readonly xpub: string;
}

export function readKey(value: Value, account: string): AccountKey {
  const fields = new Fields(value, "key", 9);
  const key: AccountKey = {
    key: fields.text(MOST.keyName),
    keyId: fields.bytes(16),
    publicKey: pointOf(fields.bytes(65), "public key"),
    mechanisms: fields.list(MOST.mechanisms, (mechanism) => textOf(mechanism, "mechanism", MOST.mechanism)),
    floor: fields.oneOf(FLOORS),
    network: fields.oneOf(["", "main", "test", "signet", "regtest"] as const),
    path: fields.text(),
    address: fields.text(),
    xpub: fields.text(),
  };
  if (!isKeyOf(account, key.key)) throw new NotTrusted("other-account", key.key);
  return key;
}

/** The same key, or `NotTrusted("wrong-address")`. */
export function checkedKey(key: AccountKey): AccountKey {
  assertAddress(key);
  return key;
}

/** A key that may be shown. */
export interface ShownKey extends AccountKey {
  /** False where the HSM named an address that the key does not give. Then there is none here, and nothing may be deposited. */
  readonly addressFits: boolean;
}

/** The key with its address, if that is its own; else without. */
export function shownKey(key: AccountKey): ShownKey {
  try {
    return { ...checkedKey(key), addressFits: true };
  } catch {
    return { ...key, address: "", xpub: "", addressFits: false };
  }
}
