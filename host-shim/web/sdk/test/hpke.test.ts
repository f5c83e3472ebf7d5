import assert from "node:assert/strict";
import { test } from "node:test";
import { shake128 } from "@noble/hashes/sha3.js";
import { fromHex, toHex, utf8 } from "../src/bytes.js";
import { NotTrusted } from "../src/errors.js";
import { open, seal, suite } from "../src/hpke.js";
import { generateDeviceKeys, publicPoint } from "../src/keys.js";

/**
 * RFC 9180's test vectors (test-vectors.json of cfrg/draft-irtf-cfrg-hpke), mode 0, KEM 0x0010, KDF 0x0001, AEAD 0x0002, in the accumulated
 * form of golang/go src/crypto/hpke/testdata/rfc9180.json: a thousand messages drawn from SHAKE128, their ciphertexts hashed by it.
 */
const RFC_9180 = {
  info: "4f6465206f6e2061204772656369616e2055726e",
  ikmE: "a90d3417c3da9cb6c6ae19b4b5dd6cc9529a4cc24efb7ae0ace1f31887a8cd6c",
  ikmR: "a0ce15d49e28bd47a18a97e147582d814b08cbe00109fed5ec27d1b4e9f6f5e3",
  pkRm:
    "04abc7e49a4c6b3566d77d0304addc6ed0e98512ffccf505e6a8e3eb25c685136f853148544876de76c0f2ef99cdc3a05ccf5ded7860c7c021238f9e2073d2356c",
  enc:
    "04c06b4f6bebc7bb495cb797ab753f911aff80aefb86fd8b6fcc35525f3ab5f03e0b21bd31a86c6048af3cb2d98e0d3bf01da5cc4c39ff5370d331a4f1f7d5a4e0",
  encryptionsAccumulated: "8d3263541fc1695b6e88ff3a1208577c",
};

test("the suite gives RFC 9180's vectors for P-256, HKDF-SHA256, AES-256-GCM", async () => {
  const hpke = suite();
  const recipient = await hpke.kem.deriveKeyPair(fromHex(RFC_9180.ikmR).buffer);
  assert.equal(toHex(new Uint8Array(await hpke.kem.serializePublicKey(recipient.publicKey))), RFC_9180.pkRm);
  const sender = await hpke.createSenderContext({
    recipientPublicKey: recipient.publicKey,
    info: fromHex(RFC_9180.info).buffer,
    ekm: await hpke.kem.deriveKeyPair(fromHex(RFC_9180.ikmE).buffer),
  });
  assert.equal(toHex(new Uint8Array(sender.enc)), RFC_9180.enc);
  const receiver = await hpke.createRecipientContext({
    recipientKey: recipient,
    enc: sender.enc,
    info: fromHex(RFC_9180.info).buffer,
  });
  const [source, sink] = [shake128.create(), shake128.create()];
  const draw = (): Uint8Array<ArrayBuffer> => new Uint8Array(source.xof(source.xof(1)[0] ?? 0));
  for (let i = 0; i < 1000; i++) {
    const [associated, plaintext] = [draw(), draw()];
    const ciphertext = await sender.seal(plaintext.buffer, associated.buffer);
    sink.update(new Uint8Array(ciphertext));
    assert.deepEqual(new Uint8Array(await receiver.open(ciphertext, associated.buffer)), plaintext);
  }
  assert.equal(toHex(sink.xof(16)), RFC_9180.encryptionsAccumulated);
});

test("what is sealed to a device is opened by its key that cannot be exported", async () => {
  const { sealing } = await generateDeviceKeys();
  assert.equal(sealing.privateKey.extractable, false);
  await assert.rejects(crypto.subtle.exportKey("jwk", sealing.privateKey));
  const sealed = await seal(await publicPoint(sealing), "info", utf8("aad"), utf8("secret"));
  assert.equal(sealed.encapsulated.length, 65);
  assert.deepEqual(await open(sealing, "info", utf8("aad"), sealed), utf8("secret"));
});

test("refuses another info, other associated data, another key, and any bit changed", async () => {
  const { sealing } = await generateDeviceKeys();
  const other = (await generateDeviceKeys()).sealing;
  const sealed = await seal(await publicPoint(sealing), "info", utf8("aad"), utf8("secret"));
  const flipped = (bytes: Uint8Array, at: number): Uint8Array<ArrayBuffer> =>
    new Uint8Array(bytes.map((byte, i) => (i === at ? byte ^ 1 : byte)));
  const wrong = (error: unknown): boolean => error instanceof NotTrusted && error.word === "wrong-seal";
  await assert.rejects(open(sealing, "Info", utf8("aad"), sealed), wrong);
  await assert.rejects(open(sealing, "info", utf8("aaD"), sealed), wrong);
  await assert.rejects(open(other, "info", utf8("aad"), sealed), wrong);
  await assert.rejects(open(sealing, "info", utf8("aad"), { ...sealed, ciphertext: flipped(sealed.ciphertext, 0) }), wrong);
  await assert.rejects(open(sealing, "info", utf8("aad"), { ...sealed, encapsulated: flipped(sealed.encapsulated, 64) }), wrong);
});

test("never seals to a key that is no point of the curve", async () => {
  await assert.rejects(seal(fromHex("04" + "11".repeat(64)), "info", utf8(""), utf8("")), NotTrusted);
});
