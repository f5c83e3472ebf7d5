/** A staged intent as the HSM shows it. */

import { equal, type Bytes } from "./bytes.js";
import { approvalDigest, intentHash, type Approval } from "./digest.js";
import { NotTrusted } from "./errors.js";
import { MOST } from "./fields.js";
import { expectAccount, expectHsm, expectNonce, openStatement, type Identity, type Signed, type Whose } from "./identity.js";
import { isKeyOf } from "./names.js";

/** The weakest approval that a key takes, from weak to strong. */
export const FLOORS = ["code", "sealed-code", "passkey"] as const;
export type Floor = (typeof FLOORS)[number];

export const INTENT_STATES = ["open", "approved", "signed", "declined"] as const;
export type IntentState = (typeof INTENT_STATES)[number];

/** What was staged, verified down from the root. Its hash was worked out here from what is shown. */
export interface View extends Whose {
  readonly hsm: Bytes;
  readonly intent: Bytes;
  readonly purpose: "sign" | "payee";
  /** `ACCOUNT/KEY`; empty for a payee. */
  readonly key: string;
  readonly keyId: Bytes;
  readonly mechanism: string;
  readonly digests: readonly Bytes[];
  readonly summary: string;
  readonly floor: Floor;
  readonly state: IntentState;
  readonly nonce: Bytes;
  /** Both by the HSM's clock. */
  readonly expires: number;
  readonly now: number;
  readonly intentHash: Bytes;
}

export interface ViewRequest extends Whose {
  readonly intent: Uint8Array;
  readonly deviceNonce: Uint8Array;
}

export async function readView(identity: Identity, signed: Signed, request: ViewRequest): Promise<View> {
  const fields = await openStatement(identity, signed, "countersign view v1", 17);
  expectHsm(fields, identity);
  expectAccount(fields, request);
  const intent = fields.bytes(16);
  if (!equal(intent, request.intent)) throw new NotTrusted("other-intent");
  const shown = {
    purpose: fields.oneOf(["sign", "payee"] as const),
    key: fields.text(MOST.keyName),
    keyId: fields.bytes(),
    mechanism: fields.text(MOST.mechanism),
    digests: fields.digests(),
    summary: fields.text(MOST.summary),
    floor: fields.oneOf(FLOORS),
    state: fields.oneOf(INTENT_STATES),
    nonce: fields.bytes(32),
    expires: fields.uint(),
    now: fields.uint(),
  };
  expectNonce(fields, request.deviceNonce);
  assertFitting(shown, request);
  return {
    tenant: request.tenant,
    account: request.account,
    hsm: identity.hsm,
    intent,
    ...shown,
    intentHash: await intentHash(shown.mechanism, shown.digests, shown.summary),
  };
}

type Shown = Pick<View, "purpose" | "key" | "keyId" | "mechanism" | "digests">;

/** A signature has a key of this account and something to sign; a payee has neither. */
function assertFitting(shown: Shown, whose: Whose): void {
  if (shown.purpose === "sign" && !isKeyOf(whose.account, shown.key)) throw new NotTrusted("other-account", shown.key);
  const fits =
    shown.purpose === "sign"
      ? shown.keyId.length === 16 && shown.digests.length > 0 && shown.mechanism !== "payee"
      : shown.key === "" && shown.keyId.length === 0 && shown.digests.length === 0 && shown.mechanism === "payee";
  if (!fits) throw new NotTrusted("malformed-statement", "what does not fit its purpose");
}

/** What is approved, or declined, of this view. */
export function approvalOf(view: View, purpose: "sign" | "payee" | "decline"): Approval {
  const { hsm, tenant, account, keyId, intentHash, expires, nonce } = view;
  return { purpose, hsm, tenant, account, keyId, intentHash, expires, nonce };
}

/** The digest that approves exactly this view: also the challenge of a passkey. */
export function digestOf(view: View): Promise<Bytes> {
  return approvalDigest(approvalOf(view, view.purpose));
}

/** One line of a summary, `label: text`. */
export interface SummaryLine {
  readonly label: string;
  readonly text: string;
}

/** A summary as a device shows it: warnings apart, all of it, in order. It is text and never markup. */
export function summaryLines(summary: string): { warnings: string[]; lines: SummaryLine[] } {
  const all = summary.split("\n").map((line): SummaryLine => {
    const at = line.indexOf(": ");
    return at < 0 ? { label: "", text: line } : { label: line.slice(0, at), text: line.slice(at + 2) };
  });
  return {
    warnings: all.filter((line) => line.label === "warning").map((line) => line.text),
    lines: all.filter((line) => line.label !== "warning" && (line.label !== "" || line.text !== "")),
  };
}
