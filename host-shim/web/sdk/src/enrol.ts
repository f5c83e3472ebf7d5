/** Enrols: asks, verifies all of the answer, and only then opens the secret. */

import { equal, random, type Bytes } from "./bytes.js";
import { message } from "./cbor.js";
import { registrationChallenge } from "./digest.js";
import {
  assertFactors,
  ENROLMENT_INFO,
  readAnswer,
  readReceipt,
  requestStatement,
  type EnrolmentReceipt,
  type EnrolmentRequest,
  type Invitation,
} from "./enrolment.js";
import { NotTrusted } from "./errors.js";
import { open, sealDigest } from "./hpke.js";
import { answerFields, type Hsm } from "./hsm.js";
import { readSigned, type Identity } from "./identity.js";
import { deviceId, generateDeviceKeys, publicPoint, type DeviceKeys, type Enrolment } from "./keys.js";
import { readOtpauth, type Otpauth } from "./otpauth.js";
import type { PasskeyRegistrar, PasskeyRegistration } from "./passkey.js";
import { sign } from "./signature.js";

/** An enrolment whose answer was verified in full: the secret may be shown, once. */
export interface Opened {
  readonly receipt: EnrolmentReceipt;
  readonly otpauth: Otpauth;
  readonly confirmWithinSecs: number;
  readonly enrolment: Enrolment;
}

export async function enrol(hsm: Hsm, invitation: Invitation, registrars: readonly PasskeyRegistrar[]): Promise<Opened> {
  const identity = await hsm.identity();
  const keys = await generateDeviceKeys();
  const deviceKey = await publicPoint(keys.signing);
  const { tenant, account, invitation: id } = invitation;
  const challenge = await registrationChallenge(identity.hsm, tenant, account, id, deviceKey);
  const passkeys: PasskeyRegistration[] = [];
  // One after another: a browser shows one question at a time.
  for (const register of registrars) passkeys.push(await register(challenge));
  const request: EnrolmentRequest = {
    ...invitation,
    hsm: identity.hsm,
    deviceNonce: random(32),
    deviceKey,
    sealingKey: await publicPoint(keys.sealing),
    passkeys,
  };
  const act = message({ "enroll-sealed": await asMessage(request, keys) });
  const names = ["receipt", "encapsulated", "ciphertext", "act_nonce", "confirm_within_secs"];
  const answer = readAnswer(answerFields(await hsm.ask(act), "enrolled-sealed", names));
  const receipt = await readReceipt(identity, readSigned(answer.receipt, "enrolment"), request);
  const totp = await assertFactors(receipt, { deviceId: await deviceId(keys), deviceKey, passkeys });
  if (!equal(await sealDigest(answer), receipt.sealed)) throw new NotTrusted("wrong-seal");
  const uri = await open(keys.sealing, ENROLMENT_INFO, request.deviceNonce, answer);
  return {
    receipt,
    otpauth: readOtpauth(textOf(uri), totp),
    confirmWithinSecs: answer.confirmWithinSecs,
    enrolment: enrolmentOf(hsm.pinned, identity, receipt, keys, totp),
  };
}

async function asMessage(request: EnrolmentRequest, keys: DeviceKeys): Promise<ReturnType<typeof message>> {
  return message({
    tenant: request.tenant,
    account: request.account,
    invitation: request.invitation,
    device_nonce: request.deviceNonce,
    device_key: request.deviceKey,
    device_sealing_key: request.sealingKey,
    passkeys: request.passkeys.map(({ clientDataJson, authenticatorData }) =>
      message({ client_data_json: clientDataJson, authenticator_data: authenticatorData }),
    ),
    signature: await sign(keys.signing.privateKey, requestStatement(request)),
  });
}

function enrolmentOf(
  rootFingerprint: string,
  identity: Identity,
  receipt: EnrolmentReceipt,
  keys: DeviceKeys,
  totp: Enrolment["totp"],
): Enrolment {
  const { tenant, account } = receipt;
  const passkeys = receipt.passkeys.map(({ credentialId, rpId, origin }) => ({ credentialId, rpId, origin }));
  const { hsm, measurement } = identity;
  return { tenant, account, hsm, rootFingerprint, measurement, keys, passkeys, totp, confirmed: false };
}

function textOf(bytes: Bytes): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new NotTrusted("wrong-seal", "not UTF-8");
  }
}
