/**
 * Serves the built page and plays an honest HSM behind it, for the page's own tests. Needs `npm run build` and `npm run check -w sdk`.
 * Run by itself it serves on the port that is given, and prints an invitation.
 *
 * Besides `POST /v1/hsm` it has what a backend and a clock would do, as `POST /test/NAME` with JSON: nothing of that exists in a real relay.
 */

import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { FakeHsm } from "../../sdk/build/test/fake-hsm.js";
import { codeAt } from "../../sdk/build/test/totp.js";

const dist = join(dirname(fileURLToPath(import.meta.url)), "..", "dist");
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json", ".txt": "text/plain" };

export function startRelay({ port = 0, config = {} } = {}) {
  let ahead = 0;
  const losing = { act: "", answers: 0 };
  const hsm = new FakeHsm(() => Math.floor(Date.now() / 1000) + ahead);
  const served = { root_fingerprint: hsm.fingerprint, relay: "", tenant_name: "Example Custody", ...config };
  const hex = (bytes) => Buffer.from(bytes).toString("hex");
  const bytes = (text) => Buffer.from(text, "hex");

  /** What a backend, an operator, an attacker or the time does. */
  const control = {
    invite: ({ tenant, account, floor }) => hex(hsm.invite(tenant, account, floor)),
    stage: ({ tenant, account, staged }) => hex(hsm.stage(tenant, account, staged)),
    sign: ({ tenant, account, intent }) => hsm.signIntent(tenant, account, bytes(intent)),
    approve: ({ tenant, account, intent }) => {
      // Somebody else approved it, with a code of the same secret.
      hsm.intentOf(hsm.accountOf(tenant, account), bytes(intent)).state = "approved";
    },
    code: ({ tenant, account, offset = 0 }) => codeAt(hsm.accountOf(tenant, account).secret, hsm.now() + offset),
    /** To the first second of the next time step, so that no step ends while a code is typed. */
    "next-step": () => void (ahead += 31 - (hsm.now() % 30)),
    lock: ({ tenant, account, secs }) => void (hsm.accountOf(tenant, account).lockedUntil = hsm.now() + secs),
    recovery: ({ tenant, account }) => void (hsm.accountOf(tenant, account).recovering = true),
    refuse: ({ act, reason, retryAfterSecs = null }) => void (hsm.alter = { refuse: { act, reason, retryAfterSecs } }),
    clock: ({ clock }) => void (hsm.clock = clock),
    image: () => hsm.replaceImage(),
    /** Makes it what another intent of these digests is: their hashes are the same. */
    "same-digests": ({ tenant, account, intent, digests }) => {
      const found = hsm.intentOf(hsm.accountOf(tenant, account), bytes(intent));
      Object.assign(found, { digests: [createHash("sha256").update(digests).digest()] });
    },
    /** The HSM forgets what was staged. */
    restart: ({ tenant, account }) => void (hsm.accountOf(tenant, account).intents.length = 0),
    /** The next answers to this act are lost on the way back; what was asked is carried out. */
    lose: ({ act, answers = 1 }) => void Object.assign(losing, { act, answers }),
    forge: () => void (hsm.alter = { signature: (signature) => Buffer.from(signature).reverse() }),
    honest: () => void (hsm.alter = {}),
    config: (changed) => void Object.assign(served, changed),
  };

  const server = createServer((request, response) => {
    void respond(request).then(
      ([status, type, body]) => response.writeHead(status, headersFor(type)).end(body),
      (error) => response.writeHead(500, { "content-type": "text/plain" }).end(String(error.stack ?? error)),
    );
  });

  async function respond(request) {
    const path = new URL(request.url, "http://localhost").pathname;
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    if (request.method === "POST" && path === "/v1/hsm") {
      const reply = await hsm.handle(body);
      if (losing.answers > 0 && body.includes(losing.act)) {
        losing.answers -= 1;
        return [502, "text/plain", "lost"];
      }
      return [200, "application/cbor", reply];
    }
    if (request.method === "POST" && path.startsWith("/test/")) {
      const answer = control[path.slice("/test/".length)](JSON.parse(body.toString() || "{}"));
      return [200, TYPES[".json"], JSON.stringify(answer ?? null)];
    }
    if (path === "/config.json") return [200, TYPES[".json"], JSON.stringify(served)];
    const name = path === "/" ? "index.html" : path.slice(1);
    if (!/^[a-z-]+\.[a-z]+$/.test(name)) return [404, "text/plain", "not here"];
    try {
      return [200, TYPES[extname(name)] ?? "text/plain", readFileSync(join(dist, name))];
    } catch {
      return [404, "text/plain", "not here"];
    }
  }

  return new Promise((resolve) => {
    server.listen(port, "127.0.0.1", () => resolve({ url: `http://localhost:${server.address().port}/`, hsm, stop: () => server.close() }));
  });
}

function headersFor(type) {
  const { content_security_policy: policy } = JSON.parse(readFileSync(join(dist, "manifest.json"), "utf8"));
  return {
    "content-type": type,
    "content-security-policy": policy,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const relay = await startRelay({ port: Number(process.argv[2] ?? 8080) });
  const invitation = relay.hsm.invite("acme", "alice").toString("hex");
  console.log(`${relay.url}#enroll/acme/alice/${invitation}`);
}
