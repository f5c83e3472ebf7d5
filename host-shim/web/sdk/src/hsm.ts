/** The frame around every request and reply, and the identity of who replies. */

import { equal, random } from "./bytes.js";
import { decode, encode, message, type Message, type Value } from "./cbor.js";
import { NotTrusted, Refused } from "./errors.js";
import { messageOf, textOf, uintOf } from "./fields.js";
import { readSignedIdentity, verifyIdentity, type Identity } from "./identity.js";
import type { Transport } from "./transport.js";

/** An HSM behind a transport, known by its pinned root. */
export class Hsm {
  #identity: Promise<Identity> | undefined;

  constructor(
    readonly transport: Transport,
    /** SHA-256 of the root's public key, 64 lowercase hex digits. */
    readonly pinned: string,
  ) {
    if (!/^[0-9a-f]{64}$/.test(pinned)) throw new TypeError("a fingerprint is 64 lowercase hex digits");
  }

  /** The HSM's identity, asked for once and verified down from the root. */
  identity(): Promise<Identity> {
    this.#identity ??= this.#askIdentity().catch((cause: unknown) => {
      this.#identity = undefined;
      throw cause;
    });
    return this.#identity;
  }

  async #askIdentity(): Promise<Identity> {
    const signed = answerOf(await this.ask("identity"), "identity");
    return verifyIdentity(readSignedIdentity(signed), this.pinned);
  }

  /** Carries out an act and gives its answer. Throws `Refused`, `Unreachable`, or `NotTrusted` where the reply is none. */
  async ask(act: Value): Promise<Value> {
    const id = random(16);
    const reply = decode(await this.transport.send(encode(message({ id, api_key: null, act }))));
    const fields = messageOf(reply, "reply", ["id", "outcome"]);
    const echoed = fields.get("id");
    if (!(echoed instanceof Uint8Array) || !equal(echoed, id)) throw new NotTrusted("stale-answer");
    return outcomeOf(fields.get("outcome"));
  }
}

function outcomeOf(outcome: Value | undefined): Value {
  if (!(outcome instanceof Map)) throw new NotTrusted("malformed-statement", "outcome");
  if (outcome.has("done")) return messageOf(outcome, "outcome", ["done"]).get("done") ?? null;
  const refused = messageOf(messageOf(outcome, "outcome", ["refused"]).get("refused"), "refused", ["reason", "retry_after_secs"]);
  const retry = refused.get("retry_after_secs") ?? null;
  throw new Refused(textOf(refused.get("reason"), "reason"), retry === null ? null : uintOf(retry, "retry after"));
}

/** The content of an answer of this kind, `{kind: content}`. */
export function answerOf(answer: Value, kind: string): Value | undefined {
  return messageOf(answer, "answer", [kind]).get(kind);
}

/** The same, where the content is a message. */
export function answerFields(answer: Value, kind: string, names: readonly string[]): Message {
  return messageOf(answerOf(answer, kind), kind, names);
}

/** An answer that is one word. */
export function expectWord(answer: Value, word: string): void {
  if (answer !== word) throw new NotTrusted("malformed-statement", `answer is not ${word}`);
}
