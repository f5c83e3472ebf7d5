/** HPKE (RFC 9180), base mode, one message to a context: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. */

import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } from "@hpke/core";
import { concat, own, sha256, utf8, type Bytes } from "./bytes.js";
import { NotTrusted } from "./errors.js";

/** The suite `0x0010 0x0001 0x0002`. */
export function suite(): CipherSuite {
  return new CipherSuite({ kem: new DhkemP256HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });
}

/** What HPKE makes of a message. `encapsulated` is `enc`, 65 bytes. */
export interface Sealed {
  readonly encapsulated: Bytes;
  readonly ciphertext: Bytes;
}

/** Seals to a public key (65 bytes). */
export async function seal(to: Uint8Array, info: string, associated: Uint8Array, plaintext: Uint8Array): Promise<Sealed> {
  const hpke = suite();
  let recipientPublicKey: CryptoKey;
  try {
    recipientPublicKey = await hpke.kem.deserializePublicKey(own(to).buffer);
  } catch {
    throw new NotTrusted("malformed-statement", "a sealing key that is no point of P-256");
  }
  const sender = await hpke.createSenderContext({ recipientPublicKey, info: utf8(info).buffer });
  const ciphertext = await sender.seal(own(plaintext).buffer, own(associated).buffer);
  return { encapsulated: new Uint8Array(sender.enc), ciphertext: new Uint8Array(ciphertext) };
}

/** Opens what was sealed to this key pair. Throws `NotTrusted("wrong-seal")`. */
export async function open(
  recipientKey: CryptoKeyPair,
  info: string,
  associated: Uint8Array,
  sealed: Sealed,
): Promise<Bytes> {
  try {
    const recipient = await suite().createRecipientContext({
      recipientKey,
      enc: own(sealed.encapsulated).buffer,
      info: utf8(info).buffer,
    });
    return new Uint8Array(await recipient.open(own(sealed.ciphertext).buffer, own(associated).buffer));
  } catch {
    throw new NotTrusted("wrong-seal");
  }
}

/** `SHA-256(encapsulated ‖ ciphertext)`, which stands for the sealed message in what is signed. */
export function sealDigest(sealed: Sealed): Promise<Bytes> {
  return sha256(concat(sealed.encapsulated, sealed.ciphertext));
}
