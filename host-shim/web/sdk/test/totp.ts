/** RFC 6238 by Node's own crypto: the authenticator app of the tests. */

import { createHmac } from "node:crypto";

/** The code at this time, for SHA-1, 6 digits, 30 seconds. */
export function codeAt(secret: Uint8Array, unixSecs: number): string {
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(unixSecs / 30)));
  const mac = createHmac("sha1", secret).update(counter).digest();
  // RFC 4226 section 5.3: dynamic truncation.
  const value = mac.readUInt32BE((mac[19] ?? 0) & 0x0f) & 0x7fffffff;
  return String(value % 1_000_000).padStart(6, "0");
}
