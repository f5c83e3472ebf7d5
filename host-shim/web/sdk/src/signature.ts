/** ES256 signatures in their only valid form: r ‖ s, 64 bytes, s in the lower half of the group order. */

import { concat, own, type Bytes } from "./bytes.js";
import { NotTrusted } from "./errors.js";

/** The order n of P-256 (SEC 2 section 2.4.2). */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

function toInteger(bytes: Uint8Array): bigint {
  return bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

function toBytes(integer: bigint): Bytes {
  const bytes = new Uint8Array(32);
  for (let i = 31, rest = integer; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
}

function inRange(integer: bigint): boolean {
  return integer > 0n && integer < ORDER;
}

/** True for 64 bytes with r and s in range and s in the lower half: `s ≤ (n−1)/2`. */
export function isLowS(signature: Uint8Array): boolean {
  if (signature.length !== 64) return false;
  const s = toInteger(signature.subarray(32));
  return inRange(toInteger(signature.subarray(0, 32))) && inRange(s) && s <= (ORDER - 1n) / 2n;
}

/** The same signature with s in the lower half. */
export function toLowS(signature: Uint8Array): Bytes {
  if (signature.length !== 64) throw new RangeError("a signature is 64 bytes");
  const [r, s] = [toInteger(signature.subarray(0, 32)), toInteger(signature.subarray(32))];
  if (!inRange(r) || !inRange(s)) throw new RangeError("r or s is out of range");
  return concat(toBytes(r), toBytes(s <= (ORDER - 1n) / 2n ? s : ORDER - s));
}

/**
 * An ECDSA signature in DER (`SEQUENCE { r INTEGER, s INTEGER }`, X.690 section 10.1), read strictly and written again with s in the
 * lower half. That is what a passkey's signature needs: authenticators give either half. Throws a `RangeError` on another form.
 */
export function derToLowS(der: Uint8Array): Bytes {
  const bad = (): never => {
    throw new RangeError("not an ECDSA signature in DER");
  };
  let at = 2;
  const integer = (): bigint => {
    const length = der[at + 1] ?? 0;
    const bytes = der.subarray(at + 2, at + 2 + length);
    const [first = 0xff, second = 0] = bytes;
    const padded = first === 0 && length > 1 && second < 0x80;
    if (der[at] !== 0x02 || length < 1 || length > 33 || bytes.length !== length || first >= 0x80 || padded) bad();
    at += 2 + length;
    return toInteger(bytes);
  };
  if (der[0] !== 0x30 || der[1] !== der.length - 2 || der.length > 72) bad();
  const [r, s] = [integer(), integer()];
  if (at !== der.length || !inRange(r) || !inRange(s)) bad();
  return sequence(r, s <= (ORDER - 1n) / 2n ? s : ORDER - s);
}

function sequence(...integers: readonly bigint[]): Bytes {
  const body = concat(...integers.map(derInteger));
  return concat(new Uint8Array([0x30, body.length]), body);
}

function derInteger(integer: bigint): Bytes {
  const bytes = toBytes(integer);
  const digits = bytes.subarray(bytes.findIndex((byte) => byte !== 0));
  const sign = (digits[0] ?? 0) >= 0x80 ? [0] : [];
  return concat(new Uint8Array([0x02, digits.length + sign.length, ...sign]), digits);
}

/** A public key that signatures are verified with. Throws `NotTrusted("malformed-statement")` where the point lies on no curve. */
export async function verifyingKey(point: Uint8Array): Promise<CryptoKey> {
  try {
    return await crypto.subtle.importKey("raw", own(point), { name: "ECDSA", namedCurve: "P-256" }, true, ["verify"]);
  } catch {
    throw new NotTrusted("malformed-statement", "a public key that is no point of P-256");
  }
}

/** Verifies, or throws `NotTrusted("bad-signature")`. A signature in its higher form is refused as well. */
export async function assertSigned(point: Uint8Array, statement: Uint8Array, signature: Uint8Array): Promise<void> {
  const key = await verifyingKey(point);
  const valid =
    isLowS(signature) && (await crypto.subtle.verify({ name: "ECDSA", hash: "SHA-256" }, key, own(signature), own(statement)));
  if (!valid) throw new NotTrusted("bad-signature");
}

/** Signs with a private key of the device. */
export async function sign(key: CryptoKey, statement: Uint8Array): Promise<Bytes> {
  const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, key, own(statement));
  return toLowS(new Uint8Array(signature));
}
