/** Receipts of signatures, which anybody can verify offline, down from the root. */

import { equal, fromHex, toHex, type Bytes } from "./bytes.js";
import { NotTrusted } from "./errors.js";
import { bytesOf, bytesUpTo, MOST, pointOf } from "./fields.js";
import { expectHsm, expectMeasurement, openStatement, verifyIdentity, type Identity, type Signed, type Whose } from "./identity.js";
import { intentHash } from "./digest.js";
import { FLOORS, type Floor, type View } from "./view.js";

/** What was signed, verified down from the root. */
export interface Receipt extends Whose {
  readonly hsm: Bytes;
  readonly key: string;
  readonly keyId: Bytes;
  readonly mechanism: string;
  readonly digests: readonly Bytes[];
  readonly summary: string;
  readonly approval: Floor;
  /** Which signature of the account it is, from 1. */
  readonly counter: number;
  readonly time: number;
  readonly intentHash: Bytes;
}

export async function readSignatureReceipt(identity: Identity, signed: Signed): Promise<Receipt> {
  const fields = await openStatement(identity, signed, "countersign receipt v1", 13);
  expectHsm(fields, identity);
  expectMeasurement(fields, identity);
  const receipt = {
    hsm: identity.hsm,
    tenant: fields.text(),
    account: fields.text(),
    key: fields.text(MOST.keyName),
    keyId: fields.bytes(16),
    mechanism: fields.text(MOST.mechanism),
    digests: fields.digests(),
    summary: fields.text(MOST.summary),
    approval: fields.oneOf(FLOORS),
    counter: fields.uint(),
    time: fields.uint(),
  };
  return { ...receipt, intentHash: await intentHash(receipt.mechanism, receipt.digests, receipt.summary) };
}

/** The receipt is of this account. */
export function assertOf(receipt: Receipt, whose: Whose): void {
  if (receipt.tenant !== whose.tenant) throw new NotTrusted("other-account");
  if (receipt.account !== whose.account) throw new NotTrusted("other-account");
}

/** The receipt is for exactly what was shown: the intent hash covers mechanism, digests and summary. */
export function assertFor(receipt: Receipt, view: View): void {
  assertOf(receipt, view);
  const fits =
    receipt.key === view.key && equal(receipt.keyId, view.keyId) && equal(receipt.intentHash, view.intentHash);
  if (!fits) throw new NotTrusted("other-intent");
}

/** A receipt with the identity that it rests on, as a file: byte strings in lowercase hex, JSON on one line (docs/approvals.md, "A receipt as a file"). */
export interface ReceiptFile {
  readonly identity: { readonly statement: string; readonly signature: string; readonly root: string };
  readonly receipt: { readonly statement: string; readonly signature: string };
}

export function receiptFile(identity: Identity, signed: Signed): ReceiptFile {
  const { statement, signature, root } = identity.signed;
  return {
    identity: { statement: toHex(statement), signature: toHex(signature), root: toHex(root) },
    receipt: { statement: toHex(signed.statement), signature: toHex(signed.signature) },
  };
}

/** Verifies a receipt offline, from the pinned root's fingerprint down. Takes a `ReceiptFile`, or anything that was read from one. */
export async function verifyReceipt(file: unknown, pinned: string): Promise<Receipt> {
  const { identity, receipt } = record(file, ["identity", "receipt"]);
  const endorsed = record(identity, ["statement", "signature", "root"]);
  const signed = signedOf(record(receipt, ["statement", "signature"]));
  const root = pointOf(hexOf(endorsed, "root"), "root");
  return readSignatureReceipt(await verifyIdentity({ ...signedOf(endorsed), root }, pinned), signed);
}

/** An object with these members and no other, as every reader of these files wants it. */
function record(value: unknown, names: readonly string[]): Record<string, unknown> {
  const found = typeof value === "object" && value !== null ? Object.keys(value).sort().join() : "";
  if (found !== [...names].sort().join()) throw new NotTrusted("malformed-statement", "not a receipt file");
  return value as Record<string, unknown>;
}

function signedOf(fields: Record<string, unknown>): Signed {
  const signature = bytesOf(hexOf(fields, "signature"), "signature", 64);
  return { statement: bytesUpTo(hexOf(fields, "statement"), "statement", MOST.statement), signature };
}

function hexOf(fields: Record<string, unknown>, name: string): Bytes {
  const value = fields[name];
  try {
    return fromHex(typeof value === "string" ? value : "-");
  } catch {
    throw new NotTrusted("malformed-statement", `${name}: no hex`);
  }
}
