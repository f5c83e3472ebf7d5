/** A device in front of the test double. */

import assert from "node:assert/strict";
import type { Bytes } from "../src/bytes.js";
import { Device, MemoryKeyStore, NotPossible, NotTrusted, Refused, type Opened, type View } from "../src/index.js";
import type { PasskeyRegistrar } from "../src/passkey.js";
import { FakeHsm } from "./fake-hsm.js";
import type { Plain } from "./plain-cbor.js";
import { codeAt } from "./totp.js";

export const WHOSE = { tenant: "acme", account: "alice@example.org" } as const;

export const SUMMARY = "warning: the payee is new\nsign: transfer on Ethereum (eip155:1)\nto: 0xAbC\namount: 1.5 ETH";

/** The tests' clock begins here, in the middle of a time step. */
export const START = 1_800_000_010;

export class Rig {
  clock = START;
  readonly hsm = new FakeHsm(() => this.clock);
  readonly keyStore = new MemoryKeyStore();
  readonly device = this.newDevice();

  newDevice(rootFingerprint = this.hsm.fingerprint): Device {
    const transport = { send: async (request: Bytes) => new Uint8Array(await this.hsm.handle(request)) };
    return new Device({ transport, keyStore: this.keyStore, rootFingerprint });
  }

  invited(floor?: string): { tenant: string; account: string; invitation: Uint8Array } {
    return { ...WHOSE, invitation: this.hsm.invite(WHOSE.tenant, WHOSE.account, floor) };
  }

  code(offset = 0): string {
    return codeAt(this.hsm.accountOf(WHOSE.tenant, WHOSE.account).secret, this.clock + offset);
  }

  async enrolled(registrars: readonly PasskeyRegistrar[] = [], floor?: string): Promise<Opened> {
    const opened = await this.device.enroll(this.invited(floor), registrars);
    const first = this.code();
    this.clock += 30;
    await this.device.confirm(WHOSE, first, this.code());
    this.clock += 30;
    return opened;
  }

  async viewed(summary = SUMMARY): Promise<View> {
    return this.device.viewIntent(WHOSE, this.hsm.stage(WHOSE.tenant, WHOSE.account, { summary }));
  }

  /** From now on the statement's field at this place has this value when it is signed. */
  lieAbout(at: number, value: Plain): void {
    this.hsm.alter = { statement: (fields) => fields.map((field, i) => (i === at ? value : field)) };
  }
}

export function notTrusted(act: Promise<unknown>, word: string): Promise<void> {
  return assert.rejects(act, (error) => error instanceof NotTrusted && (assert.equal(error.word, word), true));
}

export function refused(act: Promise<unknown>, reason: string): Promise<void> {
  return assert.rejects(act, (error) => error instanceof Refused && (assert.equal(error.reason, reason), true));
}

export function notPossible(act: Promise<unknown>, word: string): Promise<void> {
  return assert.rejects(act, (error) => error instanceof NotPossible && (assert.equal(error.word, word), true));
}
