/** Enrolment: the signed request, and the receipt that says what the account is. */

import { equal, type Bytes } from "./bytes.js";
import { encode, type Value } from "./cbor.js";
import { NotTrusted } from "./errors.js";
import { Fields, MOST, bytesOf, bytesUpTo, pointOf, textOf, uintOf } from "./fields.js";
import {
  expectAccount,
  expectHsm,
  expectMeasurement,
  expectNonce,
  openStatement,
  type Identity,
  type Signed,
  type Whose,
} from "./identity.js";
import { checkedKey, readKey, type AccountKey } from "./account-key.js";
import type { TotpParameters } from "./keys.js";
import { isFactorOf, type PasskeyFactor, type PasskeyRegistration } from "./passkey.js";

/** An invitation, as a backend hands it over. */
export interface Invitation extends Whose {
  readonly invitation: Uint8Array;
}

/** What a device asks for. */
export interface EnrolmentRequest extends Invitation {
  readonly hsm: Uint8Array;
  readonly deviceNonce: Uint8Array;
  readonly deviceKey: Uint8Array;
  readonly sealingKey: Uint8Array;
  readonly passkeys: readonly Pick<PasskeyRegistration, "clientDataJson" | "authenticatorData">[];
}

/** What the device key signs. */
export function requestStatement(request: EnrolmentRequest): Bytes {
  const passkeys = request.passkeys.map(({ clientDataJson, authenticatorData }) => [clientDataJson, authenticatorData]);
  return encode([
    "countersign enrolment request v1",
    request.hsm,
    request.tenant,
    request.account,
    request.invitation,
    request.deviceNonce,
    request.deviceKey,
    request.sealingKey,
    passkeys,
  ]);
}

export interface DeviceFactor {
  readonly id: Bytes;
  readonly key: Bytes;
}

/** The receipt of an enrolment, verified down from the root. The factors are complete: there is no other. */
export interface EnrolmentReceipt extends Whose {
  readonly now: number;
  /** SHA-256 of the policy document in force; all zero: none was set. */
  readonly policy: Bytes;
  readonly totp: readonly TotpParameters[];
  readonly devices: readonly DeviceFactor[];
  readonly passkeys: readonly PasskeyFactor[];
  readonly keys: readonly AccountKey[];
  readonly sealed: Bytes;
}

export async function readReceipt(
  identity: Identity,
  signed: Signed,
  request: Whose & { readonly deviceNonce: Uint8Array },
): Promise<EnrolmentReceipt> {
  const fields = await openStatement(identity, signed, "countersign enrolment v1", 12);
  expectHsm(fields, identity);
  expectMeasurement(fields, identity);
  if (fields.text() !== identity.clock) throw new NotTrusted("other-image", "clock");
  expectAccount(fields, request);
  expectNonce(fields, request.deviceNonce);
  const [now, policy] = [fields.uint(), fields.bytes(32)];
  const factors = fields.list(MOST.factors, readFactor);
  const keys = fields.list(MOST.keys, (value) => checkedKey(readKey(value, request.account)));
  return {
    tenant: request.tenant,
    account: request.account,
    now,
    policy,
    totp: factors.flatMap((factor) => (factor.kind === "totp" ? [factor.totp] : [])),
    devices: factors.flatMap((factor) => (factor.kind === "device" ? [factor.device] : [])),
    passkeys: factors.flatMap((factor) => (factor.kind === "passkey" ? [factor.passkey] : [])),
    keys,
    sealed: fields.bytes(32),
  };
}

type Factor =
  | { readonly kind: "totp"; readonly totp: TotpParameters }
  | { readonly kind: "device"; readonly device: DeviceFactor }
  | { readonly kind: "passkey"; readonly passkey: PasskeyFactor };

function readFactor(value: Value): Factor {
  const kind = Array.isArray(value) ? textOf(value[0] as Value, "factor") : "";
  switch (kind) {
    case "totp":
      return { kind, totp: readTotp(value) };
    case "device":
      return { kind, device: readDevice(value) };
    case "passkey":
      return { kind, passkey: readPasskey(value) };
    default:
      // A factor that this version cannot name is one that its user did not give.
      throw new NotTrusted("unknown-factor", kind);
  }
}

function readTotp(value: Value): TotpParameters {
  const fields = new Fields(value, "totp", 4);
  fields.text();
  const totp = { hash: fields.oneOf(["sha1", "sha256", "sha512"] as const), digits: fields.uint(), periodSecs: fields.uint() };
  if (![6, 8].includes(totp.digits) || ![30, 60].includes(totp.periodSecs)) throw new NotTrusted("malformed-statement", "totp");
  return totp;
}

function readDevice(value: Value): DeviceFactor {
  const fields = new Fields(value, "device", 3);
  fields.text();
  return { id: fields.bytes(16), key: pointOf(fields.bytes(65), "device key") };
}

function readPasskey(value: Value): PasskeyFactor {
  const fields = new Fields(value, "passkey", 6);
  fields.text();
  return {
    credentialId: fields.bytes(),
    publicKey: pointOf(fields.bytes(65), "passkey"),
    rpId: fields.text(),
    origin: fields.text(MOST.origin),
    backupEligible: fields.bool(),
  };
}

/** What a device gave, which is all that the account may have. */
export interface OwnFactors {
  readonly deviceId: Uint8Array;
  readonly deviceKey: Uint8Array;
  readonly passkeys: readonly PasskeyRegistration[];
}

/** The factors are exactly one TOTP, this device, and these passkeys. Gives the TOTP's parameters. */
export async function assertFactors(receipt: EnrolmentReceipt, own: OwnFactors): Promise<TotpParameters> {
  const [totp, secondTotp] = receipt.totp;
  const [device, secondDevice] = receipt.devices;
  if (secondTotp !== undefined || secondDevice !== undefined) throw new NotTrusted("unknown-factor", "a second one");
  if (totp === undefined || device === undefined) throw new NotTrusted("missing-factor");
  if (!equal(device.id, own.deviceId) || !equal(device.key, own.deviceKey)) {
    throw new NotTrusted("unknown-factor", "device");
  }
  const left = [...own.passkeys];
  for (const factor of receipt.passkeys) {
    const fits = await Promise.all(left.map((registration) => isFactorOf(factor, registration)));
    const at = fits.indexOf(true);
    if (at < 0) throw new NotTrusted("unknown-factor", "passkey");
    left.splice(at, 1);
  }
  if (left.length > 0) throw new NotTrusted("missing-factor", "passkey");
  return totp;
}

/** The HSM's answer to an enrolment. The act nonce in it is not signed, so nothing is done with it: the account's view has it. */
export interface EnrolmentAnswer {
  readonly receipt: Value | undefined;
  readonly encapsulated: Bytes;
  readonly ciphertext: Bytes;
  readonly confirmWithinSecs: number;
}

export function readAnswer(fields: ReadonlyMap<string, Value>): EnrolmentAnswer {
  bytesOf(fields.get("act_nonce"), "act nonce", 32);
  return {
    receipt: fields.get("receipt"),
    encapsulated: bytesOf(fields.get("encapsulated"), "encapsulated", 65),
    ciphertext: bytesUpTo(fields.get("ciphertext"), "ciphertext", MOST.ciphertext),
    confirmWithinSecs: uintOf(fields.get("confirm_within_secs"), "confirm within"),
  };
}

/** The info of HPKE for the otpauth URI. */
export const ENROLMENT_INFO = "countersign enrolment v1";
