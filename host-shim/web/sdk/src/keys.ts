/** The device's own two key pairs, and where they are kept. Their private halves never leave WebCrypto. */

import { sha256, type Bytes } from "./bytes.js";

const P256_SIGN = { name: "ECDSA", namedCurve: "P-256" } as const;
const P256_AGREE = { name: "ECDH", namedCurve: "P-256" } as const;

/** The key pairs of one account on one device. */
export interface DeviceKeys {
  /** Signs approvals (ES256). */
  readonly signing: CryptoKeyPair;
  /** What the HSM seals secrets to, at enrolment. */
  readonly sealing: CryptoKeyPair;
}

/** New key pairs; the private keys cannot be exported. */
export async function generateDeviceKeys(): Promise<DeviceKeys> {
  const [signing, sealing] = await Promise.all([
    crypto.subtle.generateKey(P256_SIGN, false, ["sign", "verify"]),
    crypto.subtle.generateKey(P256_AGREE, false, ["deriveBits"]),
  ]);
  return { signing, sealing };
}

/** A public key as SEC 1 uncompressed point, 65 bytes. */
export async function publicPoint(pair: CryptoKeyPair): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
}

/** The first 16 bytes of SHA-256 of the device's public key. */
export async function deviceId(keys: DeviceKeys): Promise<Bytes> {
  return (await sha256(await publicPoint(keys.signing))).slice(0, 16);
}

/** A passkey of the account, as the HSM's receipt named it. */
export interface KnownPasskey {
  readonly credentialId: Bytes;
  readonly rpId: string;
  readonly origin: string;
}

/** What a device keeps of an account. All of it can be stored as it is (structured clone); none of it is a secret but the keys. */
export interface Enrolment {
  readonly tenant: string;
  readonly account: string;
  /** The HSM that the account lives in; another one is refused (`other-hsm`). */
  readonly hsm: Bytes;
  /** SHA-256 of the root that endorsed it, in lowercase hex; an HSM of another root is refused (`wrong-root`). */
  readonly rootFingerprint: string;
  /** The image that its user knows: 48 bytes. No code goes to another one until `acceptImage`. */
  readonly measurement: Bytes;
  readonly keys: DeviceKeys;
  readonly passkeys: readonly KnownPasskey[];
  readonly totp: TotpParameters;
  readonly confirmed: boolean;
}

/** How the account's codes are made (RFC 6238). */
export interface TotpParameters {
  readonly hash: "sha1" | "sha256" | "sha512";
  readonly digits: number;
  readonly periodSecs: number;
}

/** Where a device keeps its enrolments. A page uses IndexedDB, so that the private keys need not be exported. */
export interface KeyStore {
  get(tenant: string, account: string): Promise<Enrolment | undefined>;
  put(enrolment: Enrolment): Promise<void>;
  list(): Promise<readonly Enrolment[]>;
  remove(tenant: string, account: string): Promise<void>;
}

/** Keeps enrolments for as long as the program runs. */
export class MemoryKeyStore implements KeyStore {
  readonly #kept = new Map<string, Enrolment>();

  get(tenant: string, account: string): Promise<Enrolment | undefined> {
    return Promise.resolve(this.#kept.get(`${tenant}/${account}`));
  }

  put(enrolment: Enrolment): Promise<void> {
    this.#kept.set(`${enrolment.tenant}/${enrolment.account}`, enrolment);
    return Promise.resolve();
  }

  list(): Promise<readonly Enrolment[]> {
    return Promise.resolve([...this.#kept.values()]);
  }

  remove(tenant: string, account: string): Promise<void> {
    this.#kept.delete(`${tenant}/${account}`);
    return Promise.resolve();
  }
}
