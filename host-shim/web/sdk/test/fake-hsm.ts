/**
 * An HSM for the tests of the SDK and of the page: honest unless a test makes it lie through `alter`. It keeps everything in memory, its
 * clock is the test's, and it shares no code with the SDK but the HPKE library. It is not the plugin: it knows just enough.
 */

import { decode } from "cborg";
import { randomBytes } from "node:crypto";
import { carryOutApprove, carryOutDecline } from "./fake-approvals.js";
import { newAccount, stageIn, type FakeAccount, type FakeIntent, type Staged } from "./fake-accounts.js";
import { carryOutAct, carryOutViewAccount } from "./fake-acts.js";
import { carryOutEnroll } from "./fake-enrolment.js";
import { newKey, signLow, sha256 } from "./p256.js";
import { encodePlain, plainMap, type Plain } from "./plain-cbor.js";

export type Act = ReadonlyMap<string, Plain>;

/** A refusal inside the double. */
export class No extends Error {
  constructor(
    readonly reason: string,
    readonly retryAfterSecs: number | null = null,
  ) {
    super(reason);
  }
}

/** What a test may change: a statement's fields before they are signed, or the whole reply after. */
export interface Alterations {
  statement?: (fields: Plain[]) => Plain[];
  signature?: (signature: Buffer) => Uint8Array;
  answer?: (answer: Plain) => Plain;
  reply?: (reply: Buffer) => Uint8Array;
  /** Refuses the next act of this name. */
  refuse?: { act: string; reason: string; retryAfterSecs: number | null };
}

export class FakeHsm {
  readonly root = newKey();
  signing = newKey();
  sealing = newKey();
  readonly id = randomBytes(16);
  measurement = randomBytes(48);
  readonly accounts = new Map<string, FakeAccount>();
  readonly invitations = new Map<string, { tenant: string; account: string; floor: string }>();
  clock: "system" | "manual" = "system";
  alter: Alterations = {};
  requests = 0;

  constructor(readonly now: () => number = () => Math.floor(Date.now() / 1000)) {}

  get fingerprint(): string {
    return sha256(this.root.point).toString("hex");
  }

  /** The image is replaced: another measurement, other keys, the same root. */
  replaceImage(): void {
    [this.measurement, this.signing, this.sealing] = [randomBytes(48), newKey(), newKey()];
  }

  /** What a backend does with its API key. */
  invite(tenant: string, account: string, floor = "sealed-code"): Buffer {
    const id = randomBytes(16);
    this.invitations.set(id.toString("hex"), { tenant, account, floor });
    return id;
  }

  stage(tenant: string, account: string, staged: Staged): Buffer {
    return stageIn(this.accountOf(tenant, account), staged, this.now());
  }

  /** What a backend does once the user approved. */
  signIntent(tenant: string, account: string, intent: Uint8Array): void {
    const of = this.accountOf(tenant, account);
    const found = this.intentOf(of, intent);
    if (found.state !== "approved") throw new No("approval-missing");
    found.state = "signed";
    of.signatures += 1;
    found.receipt = { counter: of.signatures, time: this.now() };
    of.entries.push({ ...found.receipt, intent: found });
  }

  accountOf(tenant: string, account: string): FakeAccount {
    const found = this.accounts.get(`${tenant}/${account}`);
    if (found === undefined) throw new No("unknown-account");
    return found;
  }

  intentOf(account: FakeAccount, id: Uint8Array): FakeIntent {
    const found = account.intents.find((intent) => intent.id.equals(id));
    if (found === undefined) throw new No("unknown-intent");
    return found;
  }

  newAccount(tenant: string, account: string, floor: string): FakeAccount {
    const made = newAccount(tenant, account, floor);
    this.accounts.set(`${tenant}/${account}`, made);
    return made;
  }

  /** One request, one reply, as bytes. */
  async handle(body: Uint8Array): Promise<Uint8Array> {
    this.requests += 1;
    const request = decode(body, { useMaps: true }) as Map<string, Plain>;
    if (!encodePlain(request).equals(body)) throw new Error("the request is not in canonical form");
    fieldsOf(request, ["id", "api_key", "act"]);
    let outcome: Plain;
    try {
      const answer = await this.#answer(request.get("act") ?? null);
      outcome = plainMap({ done: this.alter.answer?.(answer) ?? answer });
    } catch (cause) {
      if (!(cause instanceof No)) throw cause;
      outcome = plainMap({ refused: plainMap({ reason: cause.reason, retry_after_secs: cause.retryAfterSecs }) });
    }
    const reply = encodePlain(plainMap({ id: request.get("id") ?? null, outcome }));
    return this.alter.reply?.(reply) ?? reply;
  }

  async #answer(act: Plain): Promise<Plain> {
    const name = typeof act === "string" ? act : [...(act as Act).keys()].join();
    const { refuse } = this.alter;
    if (refuse?.act === name) {
      delete this.alter.refuse;
      throw new No(refuse.reason, refuse.retryAfterSecs);
    }
    if (name === "identity") return this.#identity();
    const fields = (act as Act).get(name) as Act;
    switch (name) {
      case "enroll-sealed":
        return carryOutEnroll(this, fields);
      case "device-act":
        return carryOutAct(this, fields);
      case "view-account":
        return carryOutViewAccount(this, fields);
      case "view-intent":
        return this.#viewIntent(fields);
      case "approve":
        return carryOutApprove(this, fields);
      case "decline":
        return carryOutDecline(this, fields);
      case "view-receipt":
        return this.#viewReceipt(fields);
      default:
        throw new No("malformed-request");
    }
  }

  #identity(): Plain {
    const fields: Plain[] = ["countersign identity v1", this.id, this.measurement, this.clock, this.signing.point, this.sealing.point];
    const statement = encodePlain(this.alter.statement?.(fields) ?? fields);
    const signature = signLow(this.root, statement);
    const signed = { statement, signature: this.alter.signature?.(signature) ?? signature, root: this.root.point };
    return plainMap({ identity: plainMap(signed) });
  }

  /** Signs a statement with the identity. */
  signed(fields: Plain[]): Plain {
    const statement = encodePlain(this.alter.statement?.(fields) ?? fields);
    const signature = signLow(this.signing, statement);
    return plainMap({ statement, signature: this.alter.signature?.(signature) ?? signature });
  }

  #viewIntent(act: Act): Plain {
    fieldsOf(act, ["tenant", "account", "intent", "device_nonce"]);
    const account = this.accountOf(act.get("tenant") as string, act.get("account") as string);
    const intent = this.intentOf(account, act.get("intent") as Uint8Array);
    const { purpose, key, keyId, mechanism, digests, summary } = intent;
    const fields: Plain[] = ["countersign view v1", this.id, account.tenant, account.account, intent.id, purpose, key, keyId];
    fields.push(mechanism, digests, summary, account.key.floor, intent.state, intent.nonce, intent.expires, this.now());
    fields.push(act.get("device_nonce") ?? null);
    return plainMap({ view: this.signed(fields) });
  }

  #viewReceipt(act: Act): Plain {
    fieldsOf(act, ["tenant", "account", "intent"]);
    const account = this.accountOf(act.get("tenant") as string, act.get("account") as string);
    const { receipt, approval, key, keyId, mechanism, digests, summary } = this.intentOf(account, act.get("intent") as Uint8Array);
    if (receipt === undefined) throw new No("unknown-receipt");
    const fields: Plain[] = ["countersign receipt v1", this.id, this.measurement, account.tenant, account.account, key, keyId];
    fields.push(mechanism, digests, summary, approval, receipt.counter, receipt.time);
    return plainMap({ receipt: this.signed(fields) });
  }
}

/** Exactly these fields in this order, as docs/approvals.md has them. */
export function fieldsOf(fields: ReadonlyMap<string, Plain>, names: readonly string[]): void {
  const found = [...fields.keys()].join();
  if (found !== names.join()) throw new Error(`fields ${found} instead of ${names.join()}`);
}
