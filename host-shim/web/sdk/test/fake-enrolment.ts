/** The test double's enrolment. */

import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } from "@hpke/core";
import { base32nopad } from "@scure/base";
import { keyFields, type FakePasskey } from "./fake-accounts.js";
import { fieldsOf, No, type Act, type FakeHsm } from "./fake-hsm.js";
import { sha256, verifies } from "./p256.js";
import { encodePlain, plainMap, type Plain } from "./plain-cbor.js";

export const suite = (): CipherSuite =>
  new CipherSuite({ kem: new DhkemP256HkdfSha256(), kdf: new HkdfSha256(), aead: new Aes256Gcm() });

export const bufferOf = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer;

const FIELDS = ["tenant", "account", "invitation", "device_nonce", "device_key", "device_sealing_key", "passkeys", "signature"];

export async function carryOutEnroll(hsm: FakeHsm, act: Act): Promise<Plain> {
  fieldsOf(act, FIELDS);
  const bytes = (name: string): Buffer => Buffer.from(act.get(name) as Uint8Array);
  const [tenant, account] = [act.get("tenant") as string, act.get("account") as string];
  const invited = hsm.invitations.get(bytes("invitation").toString("hex"));
  if (invited?.tenant !== tenant || invited.account !== account) throw new No("unknown-invitation");
  const passkeys = (act.get("passkeys") as readonly ReadonlyMap<string, Plain>[]).map((passkey) => {
    fieldsOf(passkey, ["client_data_json", "authenticator_data"]);
    return [passkey.get("client_data_json") as Uint8Array, passkey.get("authenticator_data") as Uint8Array] as const;
  });
  const named = [hsm.id, tenant, account, bytes("invitation")] as const;
  const request = encodePlain([
    "countersign enrolment request v1",
    ...named,
    bytes("device_nonce"),
    bytes("device_key"),
    bytes("device_sealing_key"),
    passkeys,
  ]);
  if (!verifies(bytes("device_key"), request, bytes("signature"))) throw new No("wrong-device-signature");
  const challenge = sha256(encodePlain(["countersign passkey registration v1", ...named, bytes("device_key")]));
  const made = hsm.newAccount(tenant, account, invited.floor);
  made.passkeys = passkeys.map(([client, data]) => readPasskey(Buffer.from(client), Buffer.from(data), challenge));
  made.device = bytes("device_key");
  hsm.invitations.delete(bytes("invitation").toString("hex"));

  const secret = base32nopad.encode(made.secret);
  const label = account.replace("@", "%40");
  const uri = `otpauth://totp/Countersign:${label}?secret=${secret}&issuer=Countersign&algorithm=SHA1&digits=6&period=30`;
  const sealed = await sealTo(bytes("device_sealing_key"), "countersign enrolment v1", bytes("device_nonce"), Buffer.from(uri));
  const factors: Plain[] = [
    ["totp", "sha1", 6, 30],
    ["device", sha256(made.device).subarray(0, 16), made.device],
    ...made.passkeys.map((p): Plain => ["passkey", p.credentialId, p.point, p.rpId, p.origin, p.backupEligible]),
  ];
  const receipt = hsm.signed([
    "countersign enrolment v1",
    hsm.id,
    hsm.measurement,
    hsm.clock,
    tenant,
    account,
    bytes("device_nonce"),
    hsm.now(),
    Buffer.alloc(32),
    factors,
    [keyFields(made)],
    sha256(sealed.encapsulated, sealed.ciphertext),
  ]);
  return plainMap({
    "enrolled-sealed": plainMap({ receipt, ...sealed, act_nonce: made.actNonce, confirm_within_secs: 1800 }),
  });
}

async function sealTo(
  point: Buffer,
  info: string,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Promise<{ encapsulated: Buffer; ciphertext: Buffer }> {
  const hpke = suite();
  const recipientPublicKey = await hpke.kem.deserializePublicKey(bufferOf(point));
  const sender = await hpke.createSenderContext({ recipientPublicKey, info: bufferOf(Buffer.from(info)) });
  const ciphertext = Buffer.from(await sender.seal(bufferOf(plaintext), bufferOf(aad)));
  return { encapsulated: Buffer.from(sender.enc), ciphertext };
}

/** Reads what the contract says is checked, roughly: the double need not be as strict as the plugin. */
function readPasskey(client: Buffer, data: Buffer, challenge: Buffer): FakePasskey {
  const { type, challenge: given, origin } = JSON.parse(client.toString()) as { type: string; challenge: string; origin: string };
  if (type !== "webauthn.create") throw new No("passkey-wrong-type");
  if (given !== challenge.toString("base64url")) throw new No("passkey-wrong-challenge");
  const flags = data[32] ?? 0;
  if ((flags & 0x45) !== 0x45) throw new No("passkey-user-not-verified");
  if ((flags & 0x80) !== 0) throw new No("passkey-malformed");
  const at = 55 + data.readUInt16BE(53);
  const point = Buffer.concat([Buffer.from([4]), data.subarray(at + 10, at + 42), data.subarray(at + 45, at + 77)]);
  const rpId = new URL(origin).hostname;
  if (!sha256(Buffer.from(rpId)).equals(data.subarray(0, 32))) throw new No("passkey-wrong-rp");
  return { credentialId: data.subarray(55, at), point, rpId, origin, backupEligible: (flags & 0x08) !== 0 };
}
