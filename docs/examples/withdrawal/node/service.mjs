// A withdrawal service: the page README.md beside it says what it answers and how it is run.
import { spawnSync } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import pkcs11js from "pkcs11js";
import { keccak256, recoverAddress, serializeTransaction } from "viem";

const CKM_COUNTERSIGN_ETHEREUM = 0xc3530001;
const CKA_COUNTERSIGN_ETHEREUM_ADDRESS = 0xc3530001;

const STAGE_TIMEOUT_MILLIS = 20_000;

// What is answered instead: the status, a word for programs, a sentence for the user.
const DENIED = [403, "policy", "The policy does not permit this withdrawal. It is closed."];
// A lock, a budget used up, a freeze: another code helps against none of them.
const LOCKED = [
  429, "locked",
  "No code is taken now: too many were wrong, which passes with time, or the user has frozen the account. " +
    "The withdrawal is kept. If it lasts, look at the account, or ask the custodian.",
];
const NOT_STAGED = [503, "hsm", "It could not be staged. The withdrawal is kept; try again."];

// What is answered for a return value. All others are ours to mend.
const REFUSALS = {
  [pkcs11js.CKR_PIN_INCORRECT]: [403, "wrong-code", "The code is wrong or was used before. Try the next code."],
  [pkcs11js.CKR_PIN_INVALID]: [400, "not-a-code", "This is not a code. Type the digits that your authenticator shows."],
  [pkcs11js.CKR_PIN_LOCKED]: LOCKED,
  [pkcs11js.CKR_USER_NOT_LOGGED_IN]: [409, "not-approved", "The user has not approved exactly this on his device, or too long ago."],
  [pkcs11js.CKR_FUNCTION_REJECTED]: DENIED,
  [pkcs11js.CKR_DEVICE_ERROR]: [503, "hsm", "The HSM cannot be reached. The withdrawal is kept; try again with the next code."],
  [pkcs11js.CKR_DEVICE_REMOVED]: [503, "hsm", "The HSM was restarted. The withdrawal is kept; try again with the next code."],
  [pkcs11js.CKR_FUNCTION_FAILED]: [503, "hsm", "The HSM is busy. The withdrawal is kept; try again with the next code."],
};

// What is answered for a word of the command line's. All others that are not the HSM's own state are ours to mend.
const STAGE_REFUSALS = {
  "policy-refused": DENIED,
  "limit-exceeded": DENIED,
  "account-frozen": LOCKED,
  "locked": LOCKED,
  "account-over-budget": LOCKED,
  "tenant-over-budget": LOCKED,
  "try-later": LOCKED,
  "too-many-intents": [
    429, "too-many", "Too much waits on the user's device. Let him approve or decline some of it, then stage this again.",
  ],
  "no-device": [409, "no-device", "The user has no device that could approve. Ask him for a code."],
  "busy": NOT_STAGED,
};

class Refused extends Error {
  constructor(status, word, sentence) {
    super(sentence);
    this.answer = [status, { error: word, message: sentence }];
    this.word = word;
  }
}

/** The node gave no answer: nobody knows whether it did what it was asked. */
class NodeUnreachable extends Error {}

/** The node answered with an error. */
class NodeRefused extends Error {}

/** pkcs11js throws its own Pkcs11Error, with the return value as code; but from C_FindObjects an Error whose message ends with it. */
function returnValue(error) {
  return error instanceof pkcs11js.Pkcs11Error ? error.code : Number(/^CKR_\w+:(\d+)$/.exec(error.message)?.[1]);
}

/** One key behind the module. A session of its own for each signature, and one that stays, which keeps the login. */
class Signer {
  constructor(module, apiKey, label) {
    this.p11 = new pkcs11js.PKCS11();
    this.p11.load(module);
    this.p11.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
    this.slot = this.p11.C_GetSlotList(true)[0];
    this.standing = this.p11.C_OpenSession(this.slot, pkcs11js.CKF_SERIAL_SESSION);
    this.apiKey = apiKey;
    this.label = label;
  }

  withKey(act) {
    const session = this.p11.C_OpenSession(this.slot, pkcs11js.CKF_SERIAL_SESSION);
    try {
      this.logIn(session);
      this.p11.C_FindObjectsInit(session, [
        { type: pkcs11js.CKA_CLASS, value: pkcs11js.CKO_PRIVATE_KEY },
        { type: pkcs11js.CKA_LABEL, value: this.label },
      ]);
      const [key] = this.p11.C_FindObjects(session, 1);
      this.p11.C_FindObjectsFinal(session);
      return act(session, key);
    } catch (error) {
      throw REFUSALS[returnValue(error)] ? new Refused(...REFUSALS[returnValue(error)]) : error;
    } finally {
      this.p11.C_CloseSession(session); // ends an operation that a wrong code left open
    }
  }

  logIn(session) {
    try {
      this.p11.C_Login(session, pkcs11js.CKU_USER, this.apiKey);
    } catch (error) {
      if (error.code === pkcs11js.CKR_USER_ALREADY_LOGGED_IN) return;
      throw new Refused(503, "hsm", "The HSM cannot serve. The withdrawal is kept; try again.");
    }
  }

  address() {
    const wanted = [{ type: CKA_COUNTERSIGN_ETHEREUM_ADDRESS }];
    return this.withKey((session, key) => this.p11.C_GetAttributeValue(session, key, wanted)[0].value.toString());
  }

  /** Signs under a code; without one it signs what the user approved on his device, and nothing else. */
  sign(transaction, code) {
    return this.withKey((session, key) => {
      this.p11.C_SignInit(session, { mechanism: CKM_COUNTERSIGN_ETHEREUM }, key);
      if (code !== undefined) this.p11.C_Login(session, pkcs11js.CKU_CONTEXT_SPECIFIC, code);
      return this.p11.C_Sign(session, transaction, Buffer.alloc(64));
    });
  }
}

/** Gives the transaction to the HSM for the user to approve on his device; the intent's id. */
function runStage(cli, label, transaction) {
  const options = { input: transaction.toString("hex"), stdio: ["pipe", "pipe", "inherit"], encoding: "utf8" };
  const limit = { timeout: STAGE_TIMEOUT_MILLIS, killSignal: "SIGKILL" };
  const ended = spawnSync(cli, ["intent", "stage", "--json", "--key", label, "--ethereum", "-"], { ...options, ...limit });
  const { intent, refused } = said(ended.stdout);
  if (ended.status === 0 && intent) return intent;
  console.error(`staging: ${refused} (exit status ${ended.status}, ${ended.error})`);
  // 3: refused. 4, or no end in time: the HSM does not serve.
  if (ended.status === 3 && Object.hasOwn(STAGE_REFUSALS, refused)) throw new Refused(...STAGE_REFUSALS[refused]);
  if (ended.status === 4 || ended.error?.code === "ETIMEDOUT") throw new Refused(...NOT_STAGED);
  throw new Refused(500, "internal", "This is ours to mend.");
}

function said(output) {
  try {
    return JSON.parse(output) ?? {};
  } catch {
    return {};
  }
}

/** An Ethereum node over JSON-RPC. */
class Node {
  constructor(url) {
    this.url = url;
  }

  async ask(method, ...params) {
    let answer;
    try {
      const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params });
      const headers = { "Content-Type": "application/json" };
      const response = await fetch(this.url, { method: "POST", headers, body, signal: AbortSignal.timeout(20_000) });
      answer = await response.json();
    } catch {
      throw new NodeUnreachable(method);
    }
    if (answer.error) throw new NodeRefused(answer.error.message);
    return answer.result;
  }
}

/** The unsigned transaction, as viem has them. Files hold strings of digits, since JSON's numbers are too short for wei. */
function transaction(w) {
  return {
    type: "eip1559", to: w.to.toLowerCase(), value: BigInt(w.amount_wei), gas: 21_000n,
    chainId: Number(w.chain_id), nonce: Number(w.nonce),
    maxPriorityFeePerGas: BigInt(w.max_priority_fee_per_gas), maxFeePerGas: BigInt(w.max_fee_per_gas),
  };
}

function unsigned(w) {
  return Buffer.from(serializeTransaction(transaction(w)).slice(2), "hex");
}

/** The signed transaction. r and s fit two keys: yParity is the one with which they give the key's own address back. */
async function finish(w, signature) {
  const [r, s] = [signature.subarray(0, 32), signature.subarray(32)].map((half) => `0x${half.toString("hex")}`);
  const hash = keccak256(serializeTransaction(transaction(w)));
  for (const yParity of [0, 1]) {
    const signer = await recoverAddress({ hash, signature: { r, s, yParity } });
    if (signer.toLowerCase() === w.from.toLowerCase()) return serializeTransaction(transaction(w), { r, s, yParity });
  }
  throw new Error("the signature is not of this address over this transaction");
}

function mustBeOpen(w) {
  if (w.state !== "open") throw new Refused(409, "not-open", "This withdrawal does not wait for the user.");
}

/** Syncs a file, or a folder: a new name in it outlives a power cut only then. */
function sync(what) {
  const descriptor = fs.openSync(what, "r");
  try {
    fs.fsyncSync(descriptor);
  } finally {
    fs.closeSync(descriptor);
  }
}

/** The withdrawals of one key, each a file. One is under way at a time, since two would ask for the same nonce. */
class Withdrawals {
  constructor(signer, node, cli, folder, chainId, maxFee) {
    Object.assign(this, { signer, node, cli, folder, chainId, maxFee });
    fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
    sync(path.dirname(path.resolve(folder)));
    const files = fs.readdirSync(folder).filter((name) => name.endsWith(".json"));
    const read = files.map((name) => JSON.parse(fs.readFileSync(path.join(folder, name), "utf8")));
    this.all = new Map(read.map((w) => [w.id, w]));
  }

  /** Gives a changed copy. It is durable before anybody is told and before anything here goes by it. */
  save(old, changes) {
    const w = { ...old, ...changes };
    const temporary = path.join(this.folder, `${w.id}.new`);
    fs.writeFileSync(temporary, JSON.stringify(w));
    sync(temporary);
    fs.renameSync(temporary, path.join(this.folder, `${w.id}.json`));
    sync(this.folder); // else a power cut may bring back the file before
    this.all.set(w.id, w);
    return w;
  }

  find(id) {
    const w = this.all.get(id);
    if (!w) throw new Refused(404, "unknown", "There is no such withdrawal.");
    return w;
  }

  async request({ to, amount_wei }) {
    if (typeof to !== "string" || !/^0x[0-9a-fA-F]{40}$/.test(to)) throw new Refused(400, "request", "`to` is an address.");
    const isWhole = typeof amount_wei === "string" && /^[1-9][0-9]{0,77}$/.test(amount_wei) && BigInt(amount_wei) < 2n ** 256n;
    if (!isWhole) throw new Refused(400, "request", "`amount_wei` is a whole number of wei, as a string.");
    if ([...this.all.values()].some((w) => ["open", "signed"].includes(w.state))) {
      throw new Refused(409, "under-way", "Another withdrawal is under way. Finish or cancel it first.");
    }
    const from = this.signer.address();
    const { tip, fee } = await this.fees();
    const w = {
      id: crypto.randomBytes(16).toString("hex"), state: "open", from, to, amount_wei,
      chain_id: String(this.chainId), nonce: String(await this.nextNonce(from)),
      max_priority_fee_per_gas: String(tip), max_fee_per_gas: String(fee),
    };
    return [201, this.save(w, {})];
  }

  /** The tip and the most for a unit of gas, as the node has them. A node may lie, so both have bounds. */
  async fees() {
    if (BigInt(await this.node.ask("eth_chainId")) !== this.chainId) {
      throw new Refused(502, "node", "The node serves another chain. Nothing was begun.");
    }
    const tip = BigInt(await this.node.ask("eth_maxPriorityFeePerGas"));
    const base = BigInt((await this.node.ask("eth_getBlockByNumber", "latest", false)).baseFeePerGas);
    const fee = 2n * base + tip;
    if (tip < 0n || base < 0n || fee > this.maxFee) {
      throw new Refused(502, "node", "The node asks for a higher fee than is allowed here. Nothing was begun.");
    }
    return { tip, fee };
  }

  /** A node may have forgotten what was sent: with its nonce, another withdrawal would take its place. */
  async nextNonce(from) {
    let next = BigInt(await this.node.ask("eth_getTransactionCount", from, "pending"));
    for (const w of this.all.values()) {
      const isOurs = ["signed", "sent"].includes(w.state) && w.chain_id === String(this.chainId) && w.from === from;
      if (isOurs && BigInt(w.nonce) >= next) next = BigInt(w.nonce) + 1n;
    }
    return next;
  }

  /** What act gives. Where policy denies it, the withdrawal is closed, durably, before anybody is told why. */
  orDenied(w, act) {
    try {
      return act();
    } catch (error) {
      if (error.word === "policy") this.save(w, { state: "denied" });
      throw error;
    }
  }

  stage(w) {
    mustBeOpen(w);
    const intent = this.orDenied(w, () => runStage(this.cli, this.signer.label, unsigned(w)));
    return [200, this.save(w, { intent })];
  }

  /** Signs under the user's code, or, without one, what he approved on his device; and broadcasts. */
  async finish(w, code) {
    mustBeOpen(w);
    const raw = await finish(w, this.orDenied(w, () => this.signer.sign(unsigned(w), code)));
    return this.broadcast(this.save(w, { state: "signed", raw, hash: keccak256(raw) }));
  }

  async giveCode(w, { code }) {
    if (typeof code !== "string" || !/^([0-9]{6}|[0-9]{8})$/.test(code)) throw new Refused(...REFUSALS[pkcs11js.CKR_PIN_INVALID]);
    return this.finish(w, code);
  }

  /** May be repeated: the same transaction is sent, and one that is there already is as good as sent. */
  async broadcast(w) {
    if (!["signed", "sent"].includes(w.state)) throw new Refused(409, "not-signed", "This withdrawal is not signed.");
    try {
      await this.node.ask("eth_sendRawTransaction", w.raw).catch(async (error) => {
        if (!(error instanceof NodeRefused)) throw error;
        if ((await this.node.ask("eth_getTransactionByHash", w.hash)) !== null) return;
        throw new Refused(502, "node", `The node refused the transaction: ${error.message}. It is kept.`);
      });
    } catch (error) {
      if (!(error instanceof NodeUnreachable)) throw error;
      throw new Refused(502, "node", "The node cannot be reached. The signed transaction is kept; broadcast it again.");
    }
    return [200, this.save(w, { state: "sent" })];
  }

  cancel(w) {
    if (w.state !== "open") throw new Refused(409, "not-open", "What is signed cannot be cancelled.");
    return [200, this.save(w, { state: "cancelled" })];
  }

  async answer(method, [what, id, act, ...more], body) {
    const asked = what === "withdrawals" && more.length === 0 ? `${method} ${id ? "ID" : ""} ${act ?? ""}`.trim() : "";
    if (asked === "POST") return this.request(body);
    if (asked === "GET ID") return [200, this.find(id)];
    if (asked === "DELETE ID") return this.cancel(this.find(id));
    if (asked === "POST ID code") return this.giveCode(this.find(id), body);
    if (asked === "POST ID broadcast") return this.broadcast(this.find(id));
    if (asked === "POST ID stage") return this.stage(this.find(id));
    if (asked === "POST ID approved") return this.finish(this.find(id));
    throw new Refused(404, "unknown", "There is nothing here.");
  }
}

async function read(request) {
  let text = "";
  for await (const part of request) if ((text += part).length > 10_000) break;
  try {
    return JSON.parse(text || "{}") ?? {};
  } catch {
    throw new Refused(400, "request", "The body is not JSON.");
  }
}

async function handle(withdrawals, request, response) {
  let status, answer;
  try {
    [status, answer] = await withdrawals.answer(request.method, request.url.slice(1).split("/"), await read(request));
  } catch (error) {
    if (error instanceof Refused) [status, answer] = error.answer;
    else if (error instanceof NodeUnreachable || error instanceof NodeRefused)
      [status, answer] = [502, { error: "node", message: "The node did not answer. Nothing was begun." }];
    else [status, answer] = [500, { error: "internal", message: "This is ours to mend." }];
    if (status === 500) console.error(error.stack);
  }
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(answer));
}

const { MODULE, COUNTERSIGN_API_KEY, KEY, NODE_URL, CHAIN_ID, MAX_FEE_GWEI = "300", STORE, PORT = "8080", CLI = "" } = process.env;
const signer = new Signer(MODULE, COUNTERSIGN_API_KEY, KEY);
const maxFee = BigInt(MAX_FEE_GWEI) * 10n ** 9n;
const withdrawals = new Withdrawals(signer, new Node(NODE_URL), CLI, STORE, BigInt(CHAIN_ID), maxFee);
let last = Promise.resolve();
const server = http.createServer((request, response) => {
  last = last.then(() => handle(withdrawals, request, response)); // one after the other
});
server.listen(Number(PORT), "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
