/** The otpauth URI (Key Uri Format) that an authenticator app scans, and the time steps of its codes (RFC 6238). */

import { NotTrusted } from "./errors.js";
import type { TotpParameters } from "./keys.js";

/** The secret as a person needs it. Shown once, kept nowhere. */
export interface Otpauth {
  readonly uri: string;
  /** Base32 without padding. */
  readonly secret: string;
  readonly label: string;
}

const HASHES: ReadonlyMap<string, TotpParameters["hash"]> = new Map([
  ["SHA1", "sha1"],
  ["SHA256", "sha256"],
  ["SHA512", "sha512"],
]);

/** Reads the URI and compares it with what the receipt says of the factor: `NotTrusted("wrong-seal")`. */
export function readOtpauth(uri: string, totp: TotpParameters): Otpauth {
  const match = /^otpauth:\/\/totp\/([^?#]{1,200})\?([^#]{1,600})$/.exec(uri);
  if (match === null) throw new NotTrusted("wrong-seal", "no otpauth URI");
  const query = new URLSearchParams(match[2]);
  const secret = query.get("secret") ?? "";
  const fits =
    query.getAll("secret").length === 1 &&
    /^[A-Z2-7]{32,}$/.test(secret) &&
    HASHES.get(query.get("algorithm") ?? "SHA1") === totp.hash &&
    (query.get("digits") ?? "6") === String(totp.digits) &&
    (query.get("period") ?? "30") === String(totp.periodSecs);
  if (!fits) throw new NotTrusted("wrong-seal", "parameters");
  return { uri, secret, label: decodeLabel(match[1] ?? "") };
}

function decodeLabel(label: string): string {
  try {
    return decodeURIComponent(label);
  } catch {
    throw new NotTrusted("wrong-seal", "label");
  }
}

/** Seconds until the next code shows, at this time in seconds since 1970: 1 to the period. */
export function secsToNextCode(unixSecs: number, periodSecs: number): number {
  return periodSecs - (Math.floor(unixSecs) % periodSecs);
}

/** True for exactly the digits that the factor has. Nothing is trimmed. */
export function isCode(code: string, totp: TotpParameters): boolean {
  return code.length === totp.digits && /^[0-9]+$/.test(code);
}
