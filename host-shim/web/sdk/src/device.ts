/**
 * A user's device. Everything of docs/approvals.md on the device's side: what arrives is verified down from the pinned root, and what
 * is sent is good for one thing only.
 */

import { readAccount, readActBinding, type AccountView } from "./account.js";
import { equal, random, type Bytes } from "./bytes.js";
import { message } from "./cbor.js";
import { accountRequest, approvalDigest, type Purpose } from "./digest.js";
import { enrol, type Opened } from "./enrol.js";
import type { Invitation } from "./enrolment.js";
import { NotPossible, NotTrusted } from "./errors.js";
import { passkeyEvidence, type Evidence, sealCodes, sealedCodeEvidence, sealedPart, signDigest } from "./evidence.js";
import { answerOf, expectWord, Hsm } from "./hsm.js";
import { readSigned, type Identity, type Signed, type Whose } from "./identity.js";
import { deviceId, type DeviceKeys, type Enrolment, type KeyStore } from "./keys.js";
import { assertNames } from "./names.js";
import { isCode } from "./otpauth.js";
import { browserAsker, type PasskeyAsker, type PasskeyRegistrar } from "./passkey.js";
import { assertFor, assertOf, readSignatureReceipt, receiptFile, type Receipt, type ReceiptFile } from "./receipt.js";
import { sign } from "./signature.js";
import type { Transport } from "./transport.js";
import { approvalOf, digestOf, readView, type View } from "./view.js";

/** How long the evidence of an act on the account is good; the HSM takes at most 600. */
const ACT_EXPIRES_SECS = 300;

export interface DeviceOptions {
  readonly transport: Transport;
  readonly keyStore: KeyStore;
  /** SHA-256 of the root's public key in lowercase hex, from somewhere else than the backend. */
  readonly rootFingerprint: string;
}

export class Device {
  readonly #hsm: Hsm;
  readonly #keyStore: KeyStore;

  constructor(options: DeviceOptions) {
    this.#hsm = new Hsm(options.transport, options.rootFingerprint);
    this.#keyStore = options.keyStore;
  }

  /** Who answers: verified once for each `Device`. A manual clock has to be shown as what it is, for tests. */
  identity(): Promise<Identity> {
    return this.#hsm.identity();
  }

  /**
   * Enrols this device for a new account. What it gives was checked in full, so the secret may be shown. The secret is kept nowhere: show
   * it now, ask for two codes, and call `confirm`.
   */
  async enroll(invitation: Invitation, registrars: readonly PasskeyRegistrar[] = []): Promise<Opened> {
    assertNames(invitation.tenant, invitation.account);
    if (invitation.invitation.length !== 16) throw new NotPossible("malformed-link", "invitation");
    const known = await this.#keyStore.get(invitation.tenant, invitation.account);
    if (known?.confirmed === true) throw new NotPossible("already-enrolled");
    const opened = await enrol(this.#hsm, invitation, registrars);
    await this.#keyStore.put(opened.enrolment);
    return opened;
  }

  /** Finishes an enrolment with the codes of two consecutive time steps, the earlier one first. */
  async confirm(whose: Whose, first: string, second: string): Promise<void> {
    await this.#act(whose, "confirm", [first, second]);
    await this.#keyStore.put({ ...(await this.#enrolment(whose)), confirmed: true });
  }

  /** Reopens a locked account, with two codes as above. */
  unlock(whose: Whose, first: string, second: string): Promise<void> {
    return this.#act(whose, "unlock", [first, second]);
  }

  /** From then on the account signs nothing and checks no code, until the HSM's operators lift it. */
  freeze(whose: Whose): Promise<void> {
    return this.#act(whose, "freeze", null);
  }

  /** Stops a recovery that is under way. */
  cancelRecovery(whose: Whose): Promise<void> {
    return this.#act(whose, "cancel-recovery", null);
  }

  /** The account as the HSM has it now. */
  async account(whose: Whose): Promise<AccountView> {
    const [identity, { keys }] = await this.#ready(whose);
    const { signed, deviceNonce } = await this.#askAccount(identity, keys, whose);
    return readAccount(identity, signed, { ...whose, deviceNonce });
  }

  async #askAccount(identity: Identity, keys: DeviceKeys, whose: Whose): Promise<{ signed: Signed; deviceNonce: Bytes }> {
    const { tenant, account } = whose;
    const deviceNonce = random(32);
    const act = message({
      tenant,
      account,
      device: await deviceId(keys),
      device_nonce: deviceNonce,
      signature: await sign(keys.signing.privateKey, accountRequest(identity.hsm, tenant, account, deviceNonce)),
    });
    const answer = await this.#hsm.ask(message({ "view-account": act }));
    return { signed: readSigned(answerOf(answer, "view"), "account"), deviceNonce };
  }

  /**
   * What was staged, as the HSM would sign it. Show all of it before asking for anything. It needs no enrolment on this device: whoever has
   * one of the account's passkeys can look and approve with it, down from the pinned root.
   */
  async viewIntent(whose: Whose, intent: Uint8Array): Promise<View> {
    if (intent.length !== 16) throw new NotPossible("malformed-link", "intent");
    const [identity] = await this.#known(whose);
    const { tenant, account } = whose;
    const deviceNonce = random(32);
    const act = message({ tenant, account, intent, device_nonce: deviceNonce });
    const answer = await this.#hsm.ask(message({ "view-intent": act }));
    return readView(identity, readSigned(answerOf(answer, "view"), "view"), { ...whose, intent, deviceNonce });
  }

  /** Approves exactly this view with a code, sealed to the HSM. */
  async approveWithCode(view: View, code: string): Promise<void> {
    await this.approve(view, await this.sealedEvidence(view, code));
  }

  /** Approves exactly this view with a passkey of the account. Where this device is not enrolled, any that the browser finds for this site. */
  async approveWithPasskey(view: View, ask: PasskeyAsker): Promise<void> {
    await this.approve(view, await this.passkeyEvidence(view, ask));
  }

  /** The evidence of `approveWithCode`, not sent: it can go with the signature itself, as `contextPin`. */
  async sealedEvidence(view: View, code: string): Promise<Evidence> {
    const [identity, enrolment] = await this.#ready(view);
    assertOpen(view);
    assertImage(identity, enrolment);
    if (view.floor === "passkey") throw new NotPossible("approval-below-floor");
    assertCodes([code], enrolment);
    const sealed = await sealCodes(identity, enrolment.keys, await digestOf(view), [code]);
    return sealedCodeEvidence(await deviceId(enrolment.keys), sealed);
  }

  /** The evidence of `approveWithPasskey`, not sent. */
  async passkeyEvidence(view: View, ask: PasskeyAsker = browserAsker): Promise<Evidence> {
    const [identity, enrolment] = await this.#known(view);
    assertOpen(view);
    if (enrolment !== undefined) assertImage(identity, enrolment);
    if (enrolment?.passkeys.length === 0) throw new NotPossible("no-passkey");
    return passkeyEvidence(await ask(await digestOf(view), enrolment?.passkeys ?? []));
  }

  /** The image that answers, where it is another than the one that the user of this account knows; else null. */
  async changedImage(whose: Whose): Promise<{ known: Bytes; now: Bytes } | null> {
    const [{ measurement }, enrolment] = await this.#known(whose);
    if (enrolment === undefined || equal(enrolment.measurement, measurement)) return null;
    return { known: enrolment.measurement, now: measurement };
  }

  /** The user was told and accepted this image: exactly the one that he was shown. */
  async acceptImage(whose: Whose, measurement: Uint8Array): Promise<void> {
    const [identity, enrolment] = await this.#ready(whose);
    if (!equal(identity.measurement, measurement)) throw new NotTrusted("other-image");
    await this.#keyStore.put({ ...enrolment, measurement: identity.measurement });
  }

  /** Sends evidence that was made for this view. Where nobody answers, it may have arrived: look at the intent again. */
  async approve(view: View, evidence: Evidence): Promise<void> {
    const { tenant, account, intent } = view;
    const answer = await this.#hsm.ask(message({ approve: message({ tenant, account, intent, evidence }) }));
    expectWord(answer, "approved");
  }

  /** Declines this view, for good. */
  async decline(view: View): Promise<void> {
    const [, { keys }] = await this.#ready(view);
    const { tenant, account, intent } = view;
    const signature = await signDigest(keys, await approvalDigest(approvalOf(view, "decline")));
    const act = message({ tenant, account, intent, device: await deviceId(keys), signature });
    expectWord(await this.#hsm.ask(message({ decline: act })), "declined");
  }

  /** The receipt of an intent that was signed, as read and as a file. With the view that was approved, the two are compared. */
  async receipt(whose: Whose, intent: Uint8Array, approved?: View): Promise<{ receipt: Receipt; file: ReceiptFile }> {
    const [identity] = await this.#known(whose);
    const { tenant, account } = whose;
    const answer = await this.#hsm.ask(message({ "view-receipt": message({ tenant, account, intent }) }));
    const signed = readSigned(answerOf(answer, "receipt"), "receipt");
    const receipt = await readSignatureReceipt(identity, signed);
    assertOf(receipt, whose);
    if (approved !== undefined) assertFor(receipt, approved);
    return { receipt, file: receiptFile(identity, signed) };
  }

  /** An act on the account itself. The act's nonce comes from the account's signed view, and so does the time. */
  async #act(whose: Whose, purpose: Purpose, codes: readonly string[] | null): Promise<void> {
    const [identity, enrolment] = await this.#ready(whose);
    if (codes !== null) {
      assertImage(identity, enrolment);
      assertCodes(codes, enrolment);
    }
    const { signed, deviceNonce } = await this.#askAccount(identity, enrolment.keys, whose);
    const { now, actNonce: nonce } = await readActBinding(identity, signed, { ...whose, deviceNonce });
    const { tenant, account } = whose;
    const none = new Uint8Array();
    const expires = now + ACT_EXPIRES_SECS;
    const { hsm } = identity;
    const digest = await approvalDigest({ purpose, hsm, tenant, account, keyId: none, intentHash: none, expires, nonce });
    const sealed = codes === null ? null : await sealCodes(identity, enrolment.keys, digest, codes);
    const act = message({
      tenant,
      account,
      purpose,
      expires_unix_secs: expires,
      device: await deviceId(enrolment.keys),
      sealed: sealedPart(sealed),
      signature: sealed === null ? await signDigest(enrolment.keys, digest) : sealed.signature,
    });
    expectWord(await this.#hsm.ask(message({ "device-act": act })), "carried-out");
  }

  /** The identity, and what this device keeps of the account, which has to live in this HSM. */
  async #ready(whose: Whose): Promise<[Identity, Enrolment]> {
    await this.#enrolment(whose);
    const [identity, enrolment] = await this.#known(whose);
    if (enrolment === undefined) throw new NotPossible("not-enrolled");
    return [identity, enrolment];
  }

  /** The same, where this device need not keep anything of the account. */
  async #known(whose: Whose): Promise<[Identity, Enrolment | undefined]> {
    assertNames(whose.tenant, whose.account);
    const enrolment = await this.#keyStore.get(whose.tenant, whose.account);
    if (enrolment !== undefined && enrolment.rootFingerprint !== this.#hsm.pinned) throw new NotTrusted("wrong-root");
    const identity = await this.#hsm.identity();
    if (enrolment !== undefined && !equal(enrolment.hsm, identity.hsm)) throw new NotTrusted("other-hsm");
    return [identity, enrolment];
  }

  async #enrolment(whose: Whose): Promise<Enrolment> {
    assertNames(whose.tenant, whose.account);
    const enrolment = await this.#keyStore.get(whose.tenant, whose.account);
    if (enrolment === undefined) throw new NotPossible("not-enrolled");
    return enrolment;
  }
}

/** Nothing is approved, and no code sealed, for an image that the user was not told about. */
function assertImage(identity: Identity, enrolment: Enrolment): void {
  if (!equal(identity.measurement, enrolment.measurement)) throw new NotPossible("image-changed");
}

function assertOpen(view: View): void {
  if (view.state !== "open") throw new NotPossible("intent-not-open");
  if (view.expires <= view.now) throw new NotPossible("intent-expired");
}

function assertCodes(codes: readonly string[], enrolment: Enrolment): void {
  if (!codes.every((code) => isCode(code, enrolment.totp))) throw new NotPossible("malformed-code");
}

