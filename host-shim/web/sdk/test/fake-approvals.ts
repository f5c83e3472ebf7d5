/** The test double's approvals. */

import type { FakeAccount, FakeIntent } from "./fake-accounts.js";
import { hashOf } from "./fake-accounts.js";
import { approvalDigest, assertDevice, openCodes, spendCode } from "./fake-acts.js";
import { fieldsOf, No, type Act, type FakeHsm } from "./fake-hsm.js";
import { sha256, verifiesDer } from "./p256.js";
import type { Plain } from "./plain-cbor.js";

export async function carryOutApprove(hsm: FakeHsm, act: Act): Promise<Plain> {
  fieldsOf(act, ["tenant", "account", "intent", "evidence"]);
  const account = hsm.accountOf(act.get("tenant") as string, act.get("account") as string);
  const intent = openIntent(hsm, account, act.get("intent") as Uint8Array);
  const digest = digestFor(hsm, account, intent, intent.purpose);
  const evidence = act.get("evidence") as ReadonlyMap<string, Plain>;
  const sealed = evidence.get("sealed-code") as ReadonlyMap<string, Plain> | undefined;
  if (sealed !== undefined) {
    fieldsOf(sealed, ["device", "encapsulated", "ciphertext", "signature"]);
    if (account.key.floor === "passkey") throw new No("approval-below-floor");
    assertDevice(account, sealed.get("device") as Uint8Array);
    spendCode(hsm, account, await openCodes(hsm, account, digest, sealed, sealed.get("signature") as Uint8Array));
    intent.approval = "sealed-code";
  } else {
    checkPasskey(account, digest, evidence.get("passkey") as ReadonlyMap<string, Plain>);
    intent.approval = "passkey";
  }
  intent.state = "approved";
  return "approved";
}

export async function carryOutDecline(hsm: FakeHsm, act: Act): Promise<Plain> {
  fieldsOf(act, ["tenant", "account", "intent", "device", "signature"]);
  const account = hsm.accountOf(act.get("tenant") as string, act.get("account") as string);
  assertDevice(account, act.get("device") as Uint8Array);
  const intent = openIntent(hsm, account, act.get("intent") as Uint8Array, ["open", "approved"]);
  await openCodes(hsm, account, digestFor(hsm, account, intent, "decline"), null, act.get("signature") as Uint8Array);
  intent.state = "declined";
  return "declined";
}

function openIntent(hsm: FakeHsm, account: FakeAccount, id: Uint8Array, states = ["open"]): FakeIntent {
  if (account.state === "frozen") throw new No("account-frozen");
  const intent = hsm.intentOf(account, id);
  if (!states.includes(intent.state)) throw new No("intent-not-open");
  if (intent.expires <= hsm.now()) throw new No("unknown-intent");
  return intent;
}

function digestFor(hsm: FakeHsm, account: FakeAccount, intent: FakeIntent, purpose: string): Buffer {
  return approvalDigest(hsm, account, purpose, intent.keyId, hashOf(intent), intent.expires, intent.nonce);
}

function checkPasskey(account: FakeAccount, digest: Buffer, evidence: ReadonlyMap<string, Plain>): void {
  fieldsOf(evidence, ["credential_id", "client_data_json", "authenticator_data", "signature"]);
  const bytes = (name: string): Buffer => Buffer.from(evidence.get(name) as Uint8Array);
  const passkey = account.passkeys.find(({ credentialId }) => credentialId.equals(bytes("credential_id")));
  if (passkey === undefined) throw new No("unknown-passkey");
  const client = JSON.parse(bytes("client_data_json").toString()) as { type: string; challenge: string; origin: string };
  if (client.type !== "webauthn.get") throw new No("passkey-wrong-type");
  if (client.challenge !== digest.toString("base64url")) throw new No("passkey-wrong-challenge");
  if (client.origin !== passkey.origin) throw new No("passkey-wrong-origin");
  const data = bytes("authenticator_data");
  if (((data[32] ?? 0) & 0x05) !== 0x05) throw new No("passkey-user-not-verified");
  const signed = Buffer.concat([data, sha256(bytes("client_data_json"))]);
  if (!verifiesDer(passkey.point, signed, bytes("signature"))) throw new No("passkey-wrong-signature");
}
