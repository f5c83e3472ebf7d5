/** Passkeys (WebAuthn level 2 or 3, ES256): registered and asked in the browser, compared with what the HSM's receipt says. */

import { concat, equal, own, sha256, utf8, type Bytes } from "./bytes.js";
import { NotPossible } from "./errors.js";
import type { KnownPasskey } from "./keys.js";
import { derToLowS } from "./signature.js";

/** A new passkey: what is sent, and what was read of it to compare the receipt with. */
export interface PasskeyRegistration {
  readonly clientDataJson: Bytes;
  readonly authenticatorData: Bytes;
  readonly credentialId: Bytes;
  readonly publicKey: Bytes;
  readonly rpIdHash: Bytes;
  readonly origin: string;
  readonly backupEligible: boolean;
}

/** Makes a passkey with this challenge. */
export type PasskeyRegistrar = (challenge: Bytes) => Promise<PasskeyRegistration>;

/** An assertion over this challenge, the signature in its lower form. */
export interface PasskeyAssertion {
  readonly credentialId: Bytes;
  readonly clientDataJson: Bytes;
  readonly authenticatorData: Bytes;
  readonly signature: Bytes;
}

/** Asks one of these passkeys to approve this challenge; where there are none, any that the browser finds for this site. */
export type PasskeyAsker = (challenge: Bytes, passkeys: readonly KnownPasskey[]) => Promise<PasskeyAssertion>;

/** How long the browser waits for the user. */
const TIMEOUT_MS = 120_000;

/** What the authenticator data says of itself: its flags (WebAuthn section 6.1). */
const FLAG = { userPresent: 0x01, userVerified: 0x04, backupEligible: 0x08, attested: 0x40, extensions: 0x80 } as const;

/** ES256 public keys in CTAP2's canonical form: `{1: 2, 3: -7, -1: 1, -2: x, -3: y}`. */
const COSE_X = new Uint8Array([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20]);
const COSE_Y = new Uint8Array([0x22, 0x58, 0x20]);

/** Reads what an authenticator answered to a registration. Throws `NotPossible("passkey-unsupported")`. */
export function readRegistration(clientDataJson: Uint8Array, authenticatorData: Uint8Array): PasskeyRegistration {
  const bad = (what: string): never => {
    throw new NotPossible("passkey-unsupported", what);
  };
  const flags = authenticatorData[32] ?? 0;
  const needed = FLAG.userPresent | FLAG.userVerified | FLAG.attested;
  if ((flags & needed) !== needed) bad("not verified, or no credential");
  // 32 bytes RP id hash, 1 flags, 4 counter, 16 AAGUID, then the id's length in two bytes.
  const idLength = ((authenticatorData[53] ?? 0) << 8) | (authenticatorData[54] ?? 0);
  if (idLength < 1 || idLength > 255) bad("credential id");
  const cose = authenticatorData.subarray(55 + idLength);
  const [x, y, more] = [cose.subarray(10, 42), cose.subarray(45, 77), cose.subarray(77)];
  if (!equal(cose.subarray(0, 10), COSE_X) || !equal(cose.subarray(42, 45), COSE_Y) || y.length !== 32) bad("not ES256");
  // Extension data, where there is some, is a map and means nothing here; browsers ask for some by themselves.
  const isExtended = (flags & FLAG.extensions) !== 0;
  if (isExtended ? (more[0] ?? 0) >> 5 !== 5 : more.length !== 0) bad("what follows the key");
  return {
    clientDataJson: own(clientDataJson),
    authenticatorData: own(authenticatorData),
    credentialId: own(authenticatorData.subarray(55, 55 + idLength)),
    publicKey: concat(new Uint8Array([4]), x, y),
    rpIdHash: own(authenticatorData.subarray(0, 32)),
    origin: originOf(clientDataJson),
    backupEligible: (flags & FLAG.backupEligible) !== 0,
  };
}

function originOf(clientDataJson: Uint8Array): string {
  const { origin } = JSON.parse(new TextDecoder().decode(clientDataJson)) as { origin?: unknown };
  if (typeof origin !== "string") throw new NotPossible("passkey-unsupported", "no origin");
  return origin;
}

/** What a receipt says of a passkey. */
export interface PasskeyFactor extends KnownPasskey {
  readonly publicKey: Bytes;
  readonly backupEligible: boolean;
}

/** True if the receipt's factor is exactly this registration. */
export async function isFactorOf(factor: PasskeyFactor, registration: PasskeyRegistration): Promise<boolean> {
  return (
    equal(factor.credentialId, registration.credentialId) &&
    equal(factor.publicKey, registration.publicKey) &&
    equal(await sha256(utf8(factor.rpId)), registration.rpIdHash) &&
    factor.origin === registration.origin &&
    factor.backupEligible === registration.backupEligible
  );
}

/** Registers through the browser: discoverable, user verification required, no attestation, ES256 only. */
export function browserRegistrar(user: { tenant: string; account: string }): PasskeyRegistrar {
  return async (challenge) => {
    const publicKey: PublicKeyCredentialCreationOptions = {
      challenge: own(challenge),
      rp: { name: user.tenant },
      // The user handle names the account here, and holds nothing personal but that (WebAuthn section 14.6.1: a hash).
      user: {
        id: await sha256(utf8(`countersign passkey user v1\n${user.tenant}\n${user.account}`)),
        name: user.account,
        displayName: user.account,
      },
      pubKeyCredParams: [{ type: "public-key", alg: -7 }],
      authenticatorSelection: { residentKey: "required", requireResidentKey: true, userVerification: "required" },
      attestation: "none",
      timeout: TIMEOUT_MS,
    };
    const response = await asking(() => navigator.credentials.create({ publicKey }));
    const attested = response as AuthenticatorAttestationResponse;
    return readRegistration(new Uint8Array(attested.clientDataJSON), new Uint8Array(attested.getAuthenticatorData()));
  };
}

/** Asks through the browser. Without known passkeys the user picks a discoverable one of this page's own site. */
export const browserAsker: PasskeyAsker = async (challenge, passkeys) => {
  const [first] = passkeys;
  const publicKey: PublicKeyCredentialRequestOptions = {
    challenge: own(challenge),
    ...(first === undefined ? {} : { rpId: first.rpId }),
    allowCredentials: passkeys.map(({ credentialId }) => ({ type: "public-key", id: own(credentialId) })),
    userVerification: "required",
    timeout: TIMEOUT_MS,
  };
  let credentialId = new Uint8Array();
  const response = await asking(async () => {
    const credential = await navigator.credentials.get({ publicKey });
    if (credential instanceof PublicKeyCredential) credentialId = new Uint8Array(credential.rawId);
    return credential;
  });
  const asserted = response as AuthenticatorAssertionResponse;
  return {
    credentialId,
    clientDataJson: new Uint8Array(asserted.clientDataJSON),
    authenticatorData: new Uint8Array(asserted.authenticatorData),
    signature: derToLowS(new Uint8Array(asserted.signature)),
  };
};

/** True if this browser can do both on this page. */
export function passkeysSupported(): boolean {
  return typeof PublicKeyCredential === "function" && globalThis.isSecureContext;
}

/** Browsers tell little of why: a refusal by the user and one by the browser look alike. */
async function asking(ask: () => Promise<Credential | null>): Promise<AuthenticatorResponse> {
  if (!passkeysSupported()) throw new NotPossible("passkey-unsupported");
  let credential: Credential | null;
  try {
    credential = await ask();
  } catch (cause) {
    throw new NotPossible("passkey-failed", String(cause));
  }
  if (!(credential instanceof PublicKeyCredential)) throw new NotPossible("passkey-failed", "no credential");
  return credential.response;
}
