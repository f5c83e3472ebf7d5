/** An account as the HSM shows it to its device. */

import type { Bytes } from "./bytes.js";
import type { Value } from "./cbor.js";
import { Fields, MOST } from "./fields.js";
import { expectAccount, expectHsm, expectNonce, openStatement, type Identity, type Signed, type Whose } from "./identity.js";
import { readKey, shownKey, type ShownKey } from "./account-key.js";
import { FLOORS, INTENT_STATES, type Floor, type IntentState } from "./view.js";

export interface OpenIntent {
  readonly intent: Bytes;
  readonly state: IntentState;
  readonly expires: number;
}

/** One of the last signatures. */
export interface Entry {
  /** Which signature of the account it is, from 1. */
  readonly counter: number;
  readonly time: number;
  readonly approval: Floor;
  readonly key: string;
  readonly intentHash: Bytes;
  readonly headline: string;
}

export interface AccountView extends Whose {
  readonly now: number;
  readonly state: "open" | "confirmed" | "frozen";
  readonly lockedForSecs: number;
  readonly actNonce: Bytes;
  readonly signatures: number;
  readonly intents: readonly OpenIntent[];
  /** Newest last. */
  readonly entries: readonly Entry[];
  readonly keys: readonly ShownKey[];
}

export async function readAccount(
  identity: Identity,
  signed: Signed,
  request: Request,
): Promise<AccountView> {
  const fields = await openAccount(identity, signed, request);
  return {
    tenant: request.tenant,
    account: request.account,
    now: fields.uint(),
    state: fields.oneOf(["open", "confirmed", "frozen"] as const),
    lockedForSecs: fields.uint(),
    actNonce: fields.bytes(32),
    signatures: fields.uint(),
    intents: fields.list(MOST.intents, readIntent),
    entries: fields.list(MOST.entries, readEntry),
    keys: fields.list(MOST.keys, (value) => shownKey(readKey(value, request.account))),
  };
}

type Request = Whose & { readonly deviceNonce: Uint8Array };

/** Verifies an account's view and that it answers this question. What follows is the account itself. */
async function openAccount(identity: Identity, signed: Signed, request: Request): Promise<Fields> {
  const fields = await openStatement(identity, signed, "countersign account v1", 13);
  expectHsm(fields, identity);
  expectAccount(fields, request);
  expectNonce(fields, request.deviceNonce);
  return fields;
}

/** What an act on the account is bound to. */
export interface ActBinding {
  readonly now: number;
  readonly actNonce: Bytes;
}

/** Reads no more than an act needs: what else the view holds must not keep anybody from freezing an account. */
export async function readActBinding(identity: Identity, signed: Signed, request: Request): Promise<ActBinding> {
  const fields = await openAccount(identity, signed, request);
  const now = fields.uint();
  // The state, and for how long it is locked.
  for (let i = 0; i < 2; i++) fields.skip();
  return { now, actNonce: fields.bytes(32) };
}

function readIntent(value: Value): OpenIntent {
  const fields = new Fields(value, "intent", 3);
  return { intent: fields.bytes(16), state: fields.oneOf(INTENT_STATES), expires: fields.uint() };
}

function readEntry(value: Value): Entry {
  const fields = new Fields(value, "entry", 6);
  return {
    counter: fields.uint(),
    time: fields.uint(),
    approval: fields.oneOf(FLOORS),
    key: fields.text(MOST.keyName),
    intentHash: fields.bytes(32),
    headline: fields.text(MOST.headline),
  };
}
