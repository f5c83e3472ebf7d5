/** How requests reach the HSM. Whatever carries them is trusted with nothing. */

import { concat, own, type Bytes } from "./bytes.js";
import { MAX_BYTES } from "./cbor.js";
import { Unreachable } from "./errors.js";

/** Carries one request and brings its reply. Throws `Unreachable`. */
export interface Transport {
  send(request: Bytes): Promise<Bytes>;
}

const TYPE = "application/cbor";

/** A relay: `POST {base}/v1/hsm`. An empty base is the page's own origin. */
export class RelayTransport implements Transport {
  readonly #url: string;

  constructor(
    base: string,
    readonly timeoutMs = 30_000,
  ) {
    this.#url = `${base.replace(/\/$/, "")}/v1/hsm`;
  }

  async send(request: Bytes): Promise<Bytes> {
    let response: Response;
    let body: Bytes;
    try {
      response = await fetch(this.#url, {
        method: "POST",
        headers: { "content-type": TYPE, accept: TYPE },
        body: own(request),
        // No cookies, no caches, no referrer: there is nothing that the relay needs to know.
        credentials: "omit",
        cache: "no-store",
        redirect: "error",
        referrerPolicy: "no-referrer",
        signal: AbortSignal.timeout(this.timeoutMs),
      });
      body = await bodyOf(response);
    } catch (cause) {
      throw new Unreachable(String(cause));
    }
    if (response.status !== 200) throw new Unreachable(`status ${response.status}`, retryAfter(response));
    if (response.headers.get("content-type") !== TYPE) throw new Unreachable("not CBOR");
    return body;
  }
}

/** Reads no more than the most that an answer can have, however long it goes on. */
async function bodyOf(response: Response): Promise<Bytes> {
  const reader = response.body?.getReader();
  const parts: Uint8Array[] = [];
  for (let length = 0; reader !== undefined; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
    if (length > MAX_BYTES) {
      await reader.cancel();
      throw new RangeError("too large");
    }
  }
  return concat(...parts);
}

/** `Retry-After` in seconds (RFC 9110 section 10.2.3); its other form, a date, is not waited for. */
function retryAfter(response: Response): number | null {
  const value = response.headers.get("retry-after") ?? "";
  return /^\d{1,5}$/.test(value) ? Number(value) : null;
}
