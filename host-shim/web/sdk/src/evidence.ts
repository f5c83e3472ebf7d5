/** Evidence that a device makes: its signature, alone or over sealed codes. */

import { toBase64Url, type Bytes } from "./bytes.js";
import { encode, message, type Message, type Value } from "./cbor.js";
import { CODE_INFO, codeStatement, deviceStatement } from "./digest.js";
import { NotPossible } from "./errors.js";
import { seal, sealDigest, type Sealed } from "./hpke.js";
import type { Identity } from "./identity.js";
import type { DeviceKeys } from "./keys.js";
import type { PasskeyAssertion } from "./passkey.js";
import { sign } from "./signature.js";

/** A device signature over the digest alone. */
export function signDigest(keys: DeviceKeys, digest: Uint8Array): Promise<Bytes> {
  return sign(keys.signing.privateKey, deviceStatement(digest, new Uint8Array()));
}

/** Sealed codes, and the device signature that covers digest and seal. */
export interface SealedCodes extends Sealed {
  readonly signature: Bytes;
}

export async function sealCodes(
  identity: Identity,
  keys: DeviceKeys,
  digest: Uint8Array,
  codes: readonly string[],
): Promise<SealedCodes> {
  const sealed = await seal(identity.sealingKey, CODE_INFO, digest, codeStatement(digest, codes));
  const signature = await sign(keys.signing.privateKey, deviceStatement(digest, await sealDigest(sealed)));
  return { ...sealed, signature };
}

/** What approves one intent, as it travels: `{"sealed-code": …}` or `{"passkey": …}`. */
export type Evidence = Message;

/** The context PIN through PKCS#11 that carries evidence for an intent to the signature: `csa1_`, then CBOR in base64url. */
export function contextPin(intent: Uint8Array, evidence: Evidence): string {
  if (intent.length !== 16) throw new NotPossible("malformed-link", "intent");
  return `csa1_${toBase64Url(encode(message({ intent, evidence })))}`;
}

/** `{"sealed-code": …}` as it travels. */
export function sealedCodeEvidence(device: Uint8Array, codes: SealedCodes): Evidence {
  const { encapsulated, ciphertext, signature } = codes;
  return message({ "sealed-code": message({ device, encapsulated, ciphertext, signature }) });
}

/** `{"passkey": …}` as it travels. */
export function passkeyEvidence(assertion: PasskeyAssertion): Evidence {
  return message({
    passkey: message({
      credential_id: assertion.credentialId,
      client_data_json: assertion.clientDataJson,
      authenticator_data: assertion.authenticatorData,
      signature: assertion.signature,
    }),
  });
}

/** The sealed codes of an act on the account, or that there are none. */
export function sealedPart(codes: SealedCodes | null): Value {
  return codes === null ? null : message({ encapsulated: codes.encapsulated, ciphertext: codes.ciphertext });
}
