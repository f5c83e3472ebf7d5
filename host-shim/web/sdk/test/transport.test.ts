import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { RelayTransport, Unreachable } from "../src/index.js";

const real = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = real;
});

const CBOR = { "content-type": "application/cbor" };

/** Replies like this, and keeps what was asked. */
function replying(response: () => Response): { url: string; init: RequestInit }[] {
  const asked: { url: string; init: RequestInit }[] = [];
  globalThis.fetch = (url, init = {}) => {
    asked.push({ url: String(url), init });
    return Promise.resolve(response());
  };
  return asked;
}

test("a request is one POST of CBOR, with nothing that tells who asks", async () => {
  const asked = replying(() => new Response(new Uint8Array([1, 2]), { headers: CBOR }));
  assert.deepEqual(await new RelayTransport("https://relay.example/").send(new Uint8Array([3])), new Uint8Array([1, 2]));
  const [{ url, init } = { url: "", init: {} }] = asked;
  assert.equal(url, "https://relay.example/v1/hsm");
  assert.deepEqual([init.method, init.credentials, init.redirect, init.cache], ["POST", "omit", "error", "no-store"]);
  assert.deepEqual(init.headers, { "content-type": "application/cbor", accept: "application/cbor" });
});

test("whatever is no reply of an HSM is told as unreachable", async () => {
  const transport = new RelayTransport("");
  const bad = [
    () => new Response(new Uint8Array([1]), { status: 502, headers: CBOR }),
    () => new Response("<html>", { headers: { "content-type": "text/html" } }),
    () => new Response(new Uint8Array((1 << 20) + 1), { headers: CBOR }),
    () => {
      throw new TypeError("network");
    },
  ];
  for (const response of bad) {
    replying(response);
    await assert.rejects(transport.send(new Uint8Array()), Unreachable);
  }
});

test("a relay that asks to wait is believed, and nothing else of it is", async () => {
  replying(() => new Response(null, { status: 429, headers: { "retry-after": "30" } }));
  await assert.rejects(new RelayTransport("").send(new Uint8Array()), (error) => error instanceof Unreachable && error.retryAfterSecs === 30);
  replying(() => new Response(null, { status: 429, headers: { "retry-after": "-1" } }));
  await assert.rejects(new RelayTransport("").send(new Uint8Array()), (error) => error instanceof Unreachable && error.retryAfterSecs === null);
});

test("an answer without end is not read to its end", async () => {
  let [read, cancelled] = [0, false];
  const endless = (): ReadableStream<Uint8Array> =>
    new ReadableStream({
      pull: (controller) => void ((read += 1), controller.enqueue(new Uint8Array(1 << 16))),
      cancel: () => void (cancelled = true),
    });
  replying(() => new Response(endless(), { headers: CBOR }));
  await assert.rejects(new RelayTransport("").send(new Uint8Array()), Unreachable);
  assert.ok(cancelled && read < 32, `read ${read} parts`);
});
