import assert from "node:assert/strict";
import { test } from "node:test";
import { readAccount } from "../src/account.js";
import { concat, fromHex, toHex, utf8, type Bytes } from "../src/bytes.js";
import { decode, encode, type Value } from "../src/cbor.js";
import {
  accountRequest,
  approvalDigest,
  codeStatement,
  deviceStatement,
  intentHash,
  registrationChallenge,
  type Purpose,
} from "../src/digest.js";
import { readReceipt, requestStatement } from "../src/enrolment.js";
import { open, sealDigest, suite } from "../src/hpke.js";
import { fingerprint, verifyIdentity, type Identity } from "../src/identity.js";
import { isFactorOf, readRegistration } from "../src/passkey.js";
import { readSignatureReceipt } from "../src/receipt.js";
import { assertSigned, derToLowS } from "../src/signature.js";
import { readView } from "../src/view.js";
import { bytesField, key, named, plain, point, sealingPair, textField, vectors, type Vector } from "./vector-file.js";

const identityOf = ({ bytes, signature }: Vector): Promise<Identity> =>
  verifyIdentity({ statement: fromHex(bytes), signature: fromHex(signature ?? ""), root: point("root") }, key("root_fingerprint"));

const bytesAt = (at: readonly Value[], index: number): Bytes => new Uint8Array(at[index] as Uint8Array);
const textAt = (at: readonly Value[], index: number): string => at[index] as string;

/** Reads a statement of the HSM as the device that had asked for exactly what `asked` says. */
async function readAsDevice(vector: Vector, asked: Vector): Promise<unknown> {
  if (vector.statement === "countersign identity v1") return identityOf(vector);
  const identity = await identityOf(named("identity"));
  const signed = { statement: fromHex(vector.bytes), signature: fromHex(vector.signature ?? "") };
  if (vector.statement === "countersign receipt v1") return readSignatureReceipt(identity, signed);
  const request = {
    tenant: textField(asked, "tenant"),
    account: textField(asked, "account"),
    deviceNonce: bytesField(asked, "device_nonce"),
  };
  switch (vector.statement) {
    case "countersign view v1":
      return readView(identity, signed, { ...request, intent: bytesField(asked, "intent") });
    case "countersign enrolment v1":
      return readReceipt(identity, signed, request);
    default:
      return readAccount(identity, signed, request);
  }
}

/** What a device writes, written by the code under test from what the statement holds. */
function written(statement: string, at: readonly Value[]): Bytes {
  if (statement === "countersign account request v1") {
    return accountRequest(bytesAt(at, 1), textAt(at, 2), textAt(at, 3), bytesAt(at, 4));
  }
  assert.equal(statement, "countersign enrolment request v1");
  return requestStatement({
    hsm: bytesAt(at, 1),
    tenant: textAt(at, 2),
    account: textAt(at, 3),
    invitation: bytesAt(at, 4),
    deviceNonce: bytesAt(at, 5),
    deviceKey: bytesAt(at, 6),
    sealingKey: bytesAt(at, 7),
    passkeys: (at[8] as Value[][]).map((pair) => ({ clientDataJson: bytesAt(pair, 0), authenticatorData: bytesAt(pair, 1) })),
  });
}

const ofDevice = ({ signed_by: by }: Vector): boolean => by === "device";

test("the fingerprint is that of the root", async () => {
  assert.equal(await fingerprint(point("root")), key("root_fingerprint"));
});

test("statements say what the file says they say, in canonical form", () => {
  for (const { name, fields, bytes, statement } of vectors("statement", "accept")) {
    const [kind, ...rest] = decode(fromHex(bytes)) as Value[];
    assert.equal(kind, statement, name);
    assert.deepEqual(rest.map(plain), Object.values(fields), name);
    assert.equal(toHex(encode([kind ?? null, ...rest])), bytes, name);
  }
});

test("statements of the HSM are verified and read", async () => {
  const read = new Set<string | undefined>();
  for (const vector of vectors("statement", "accept").filter((each) => !ofDevice(each))) {
    await readAsDevice(vector, vector);
    read.add(vector.statement);
  }
  assert.equal(read.size, 5);
});

test("statements that must be refused are", async () => {
  const asked = named("view of a transfer with a warning");
  for (const vector of vectors("statement", "refuse")) await assert.rejects(readAsDevice(vector, asked), vector.name);
});

test("statements of a device are written byte for byte, and their signatures verify", async () => {
  for (const { name, bytes, statement = "", signature = "" } of vectors("statement", "accept").filter(ofDevice)) {
    assert.equal(toHex(written(statement, decode(fromHex(bytes)) as Value[])), bytes, name);
    await assertSigned(point("device"), fromHex(bytes), fromHex(signature));
  }
});

test("approval digests come out the same", async () => {
  for (const vector of vectors("digest", "accept")) {
    const digest = await approvalDigest({
      purpose: textField(vector, "purpose") as Purpose,
      hsm: bytesField(vector, "hsm"),
      tenant: textField(vector, "tenant"),
      account: textField(vector, "account"),
      keyId: bytesField(vector, "key_id"),
      intentHash: bytesField(vector, "intent_hash"),
      expires: Number(vector.fields["expires"]),
      nonce: bytesField(vector, "nonce"),
    });
    assert.equal(toHex(digest), vector.bytes, vector.name);
  }
});

test("intent hashes and the challenge of a registration come out the same", async () => {
  for (const vector of vectors("intent-hash", "accept")) {
    const digests = (vector.fields["digests"] as string[]).map(fromHex);
    const hash = await intentHash(textField(vector, "mechanism"), digests, textField(vector, "summary"));
    assert.equal(toHex(hash), vector.bytes, vector.name);
  }
  for (const vector of vectors("registration-challenge", "accept")) {
    const [tenant, account] = [textField(vector, "tenant"), textField(vector, "account")];
    const [hsm, invitation, deviceKey] = ["hsm", "invitation", "device_key"].map((name) => bytesField(vector, name)) as [Bytes, Bytes, Bytes];
    assert.equal(toHex(await registrationChallenge(hsm, tenant, account, invitation, deviceKey)), vector.bytes);
  }
});

test("what is sealed and what is signed of it comes out the same", async () => {
  for (const vector of vectors("message", "accept")) {
    const codes = vector.fields["codes"] as string[];
    assert.equal(toHex(codeStatement(bytesField(vector, "digest"), codes)), vector.bytes, vector.name);
  }
  for (const vector of vectors("evidence", "accept").filter(ofDevice)) {
    assert.equal(toHex(deviceStatement(bytesField(vector, "digest"), bytesField(vector, "sealed"))), vector.bytes, vector.name);
    await assertSigned(point("device"), fromHex(vector.bytes), fromHex(vector.signature ?? ""));
  }
});

test("messages are sealed to the same bytes, and opened, or refused", async () => {
  for (const vector of vectors("evidence").filter((each) => each.fields["to"] !== undefined)) {
    const [to, info] = [textField(vector, "to"), textField(vector, "info")];
    const associated = bytesField(vector, "associated");
    const sealed = { encapsulated: bytesField(vector, "encapsulated"), ciphertext: bytesField(vector, "ciphertext") };
    assert.equal(toHex(concat(sealed.encapsulated, sealed.ciphertext)), vector.bytes);
    assert.equal(toHex(await sealDigest(sealed)), textField(vector, "sealed_hash"));
    const opened = open(await sealingPair(to), info, associated, sealed);
    if (vector.must === "refuse") {
      await assert.rejects(opened, vector.name);
      continue;
    }
    assert.equal(toHex(await opened), textField(vector, "plaintext"), vector.name);
    const hpke = suite();
    const sender = await hpke.createSenderContext({
      recipientPublicKey: await hpke.kem.deserializePublicKey(point(to).buffer),
      info: utf8(info).buffer,
      ekm: await hpke.kem.deriveKeyPair(bytesField(vector, "random").buffer),
    });
    assert.equal(toHex(new Uint8Array(sender.enc)), toHex(sealed.encapsulated));
    const again = await sender.seal(bytesField(vector, "plaintext").buffer, associated.buffer);
    assert.equal(toHex(new Uint8Array(again)), toHex(sealed.ciphertext));
  }
});

/** What a device sees by itself of a new passkey; the rest it sees by comparing the receipt's factor. */
const SEEN_AT_ONCE = /without user verification|that is no map|without the extension data|byte after it|without a credential|another algorithm/;

test("a passkey's registration is read as the HSM reads it", async () => {
  for (const vector of vectors("registration")) {
    const read = (): ReturnType<typeof readRegistration> =>
      readRegistration(bytesField(vector, "client_data_json"), bytesField(vector, "authenticator_data"));
    if (SEEN_AT_ONCE.test(vector.name)) assert.throws(read, vector.name);
    if (vector.must === "refuse") continue;
    const factor = {
      credentialId: bytesField(vector, "credential_id"),
      publicKey: bytesField(vector, "public_key"),
      rpId: textField(vector, "rp_id"),
      origin: textField(vector, "origin"),
      backupEligible: vector.fields["backup_eligible"] === true,
    };
    assert.ok(await isFactorOf(factor, read()), vector.name);
  }
});

test("a passkey's signature is brought into the one form that the HSM takes", () => {
  const { signature = "" } = named("assertion");
  assert.equal(toHex(derToLowS(fromHex(signature))), signature);
  assert.equal(toHex(derToLowS(fromHex(named("assertion with s in the higher half").signature ?? ""))), signature);
  for (const name of ["assertion with raw signature", "assertion with a byte after the signature"]) {
    assert.throws(() => derToLowS(fromHex(named(name).signature ?? "")), name);
  }
});
