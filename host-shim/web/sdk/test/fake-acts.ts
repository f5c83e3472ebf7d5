/** The test double's acts on an account, and its view. */

import { decode } from "cborg";
import { randomBytes } from "node:crypto";
import { hashOf, keyFields, type FakeAccount } from "./fake-accounts.js";
import { bufferOf, suite } from "./fake-enrolment.js";
import { fieldsOf, No, type Act, type FakeHsm } from "./fake-hsm.js";
import { sha256, verifies } from "./p256.js";
import { encodePlain, plainMap, type Plain } from "./plain-cbor.js";
import { codeAt } from "./totp.js";

export function carryOutViewAccount(hsm: FakeHsm, act: Act): Plain {
  fieldsOf(act, ["tenant", "account", "device", "device_nonce", "signature"]);
  const account = hsm.accountOf(act.get("tenant") as string, act.get("account") as string);
  assertDevice(account, act.get("device") as Uint8Array);
  const nonce = act.get("device_nonce") as Uint8Array;
  const request = encodePlain(["countersign account request v1", hsm.id, account.tenant, account.account, nonce]);
  if (!verifies(account.device, request, act.get("signature") as Uint8Array)) throw new No("wrong-device-signature");
  const open = account.intents.filter(({ state, expires }) => ["open", "approved"].includes(state) && expires > hsm.now()).slice(-4);
  const entries = account.entries.slice(-8).map(({ counter, time, intent }): Plain => {
    const headline = intent.summary.split("\n").find((line) => !line.startsWith("warning: ")) ?? "";
    return [counter, time, intent.approval, intent.key, hashOf(intent), headline.slice(0, 96)];
  });
  const fields: Plain[] = ["countersign account v1", hsm.id, account.tenant, account.account, nonce, hsm.now(), account.state];
  fields.push(Math.max(0, account.lockedUntil - hsm.now()), account.actNonce, account.signatures);
  fields.push(open.map(({ id, state, expires }): Plain => [id, state, expires]), entries, [keyFields(account)]);
  return plainMap({ view: hsm.signed(fields) });
}

const ACT_FIELDS = ["tenant", "account", "purpose", "expires_unix_secs", "device", "sealed", "signature"];

export async function carryOutAct(hsm: FakeHsm, act: Act): Promise<Plain> {
  fieldsOf(act, ACT_FIELDS);
  const account = hsm.accountOf(act.get("tenant") as string, act.get("account") as string);
  assertDevice(account, act.get("device") as Uint8Array);
  const [purpose, expires] = [act.get("purpose") as string, act.get("expires_unix_secs") as number];
  if (expires <= hsm.now() || expires > hsm.now() + 600) throw new No("approval-expired");
  const none = Buffer.alloc(0);
  const digest = approvalDigest(hsm, account, purpose, none, none, expires, account.actNonce);
  const sealed = act.get("sealed") as ReadonlyMap<string, Plain> | null;
  if (sealed !== null) fieldsOf(sealed, ["encapsulated", "ciphertext"]);
  const codes = await openCodes(hsm, account, digest, sealed, act.get("signature") as Uint8Array);
  switch (purpose) {
    case "confirm":
      if (account.state === "confirmed") throw new No("already-confirmed");
      spendPair(hsm, account, codes);
      account.state = "confirmed";
      break;
    case "unlock":
      spendPair(hsm, account, codes);
      account.lockedUntil = 0;
      break;
    case "freeze":
      account.state = "frozen";
      break;
    case "cancel-recovery":
      if (!account.recovering) throw new No("no-recovery");
      account.recovering = false;
      break;
    default:
      throw new No("malformed-request");
  }
  account.actNonce = randomBytes(32);
  return "carried-out";
}

export function assertDevice(account: FakeAccount, device: Uint8Array): void {
  if (!sha256(account.device).subarray(0, 16).equals(device)) throw new No("unknown-device");
}

export function approvalDigest(
  hsm: FakeHsm,
  account: FakeAccount,
  purpose: string,
  keyId: Buffer,
  intentHash: Buffer,
  expires: number,
  nonce: Buffer,
): Buffer {
  const { tenant, account: name } = account;
  return sha256(
    encodePlain(["countersign approval v1", purpose, hsm.id, tenant, name, keyId, intentHash, expires, nonce]),
  );
}

/** In the contract's order: the device signature first, then the seal, then the codes. */
export async function openCodes(
  hsm: FakeHsm,
  account: FakeAccount,
  digest: Buffer,
  sealed: ReadonlyMap<string, Plain> | null,
  signature: Uint8Array,
): Promise<readonly string[]> {
  const [enc, ciphertext] = [sealed?.get("encapsulated") as Uint8Array, sealed?.get("ciphertext") as Uint8Array];
  const covered = sealed === null ? Buffer.alloc(0) : sha256(enc, ciphertext);
  const statement = encodePlain(["countersign device v1", digest, covered]);
  if (!verifies(account.device, statement, signature)) throw new No("wrong-device-signature");
  if (sealed === null) return [];
  const hpke = suite();
  const jwk = hsm.sealing.privateKey.export({ format: "jwk" });
  const recipientKey = await hpke.kem.importKey("jwk", jwk as JsonWebKey, false);
  const info = bufferOf(Buffer.from("countersign sealed code v1"));
  let plaintext: Uint8Array;
  try {
    const recipient = await hpke.createRecipientContext({ recipientKey, enc: bufferOf(enc), info });
    plaintext = new Uint8Array(await recipient.open(bufferOf(ciphertext), bufferOf(digest)));
  } catch {
    throw new No("wrong-seal");
  }
  const [kind, inner, codes] = decode(plaintext) as [string, Uint8Array, string[]];
  if (kind !== "countersign code v1" || !digest.equals(inner)) throw new No("wrong-seal");
  return codes;
}

const stepOf = (unixSecs: number): number => Math.floor(unixSecs / 30);

export function spendCode(hsm: FakeHsm, account: FakeAccount, codes: readonly string[]): void {
  if (account.lockedUntil > hsm.now()) throw new No("locked", account.lockedUntil - hsm.now());
  const [code] = codes;
  const near = [-1, 0, 1].map((offset) => stepOf(hsm.now()) + offset);
  const step = near.findLast((candidate) => codeAt(account.secret, candidate * 30) === code);
  if (codes.length !== 1 || step === undefined) throw new No("wrong-code");
  if (step <= account.usedStep) throw new No("code-used", 30 - (hsm.now() % 30));
  account.usedStep = step;
}

function spendPair(hsm: FakeHsm, account: FakeAccount, codes: readonly string[]): void {
  const [first, second] = codes;
  const near = [-2, -1, 0].map((offset) => stepOf(hsm.now()) + offset);
  const step = near.find(
    (candidate) =>
      codeAt(account.secret, candidate * 30) === first && codeAt(account.secret, (candidate + 1) * 30) === second,
  );
  if (codes.length !== 2 || step === undefined) throw new No("wrong-code");
  account.usedStep = Math.max(account.usedStep, step + 1);
}
