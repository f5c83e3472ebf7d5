/** Every reason as a sentence for the person who holds the device: what happened, and what to do next. */

/** For the HSM's refusals (docs/cli.md, "Reasons"), and for what the device itself declines. */
const REFUSALS: ReadonlyMap<string, string> = new Map([
  // The code.
  ["malformed-code", "That is not a code. Type exactly the digits your authenticator shows. Nothing was counted."],
  ["wrong-code", "That code is wrong. Wait for the next code, and check that your phone sets its clock automatically."],
  ["code-used", "That code was already used. Each code works once, so wait for the next one."],
  ["locked", "Too many wrong codes, so the account is locked for a while. Wait, or unlock it with two codes in a row."],
  ["account-over-budget", "Too many wrong codes over the last days. Wait, or unlock the account with two codes in a row."],
  ["tenant-over-budget", "Too many wrong codes at this service in the last hour. Wait, or unlock the account with two codes in a row."],
  ["try-later", "Two codes were tried a moment ago. Wait a minute before you try again."],
  ["approval-missing", "This needs your approval, and none arrived. Open it again and approve it."],
  ["approval-below-floor", "This key needs a stronger approval than a code. Approve it with your passkey."],
  // What waits for approval.
  ["unknown-intent", "There is nothing to approve here any more. It expired, or the service restarted. Ask for it again."],
  ["intent-not-open", "This was already approved, signed or declined. There is nothing left to do."],
  ["intent-expired", "The time to approve this is over. Ask for it again."],
  ["too-many-intents", "Too much is waiting for your approval. Approve or decline some of it first."],
  ["approval-expired", "The approval came too late. Open it again and repeat it."],
  ["approval-for-other", "The approval was for something else. Nothing was signed. Open it again."],
  ["policy-refused", "The rules of this service do not allow it. Nothing was signed, and no code was used up."],
  ["limit-exceeded", "This would go over a limit of this service. Ask for less, or wait until there is room again."],
  ["unknown-receipt", "There is no receipt for this any more. Your history still lists the signature."],
  // The account.
  ["unknown-account", "The service does not know this account. Check the link that you were given."],
  ["account-exists", "This account is already set up, or its setup waits for two codes. Nothing was changed."],
  ["not-confirmed", "The setup of this account is not finished. Finish it with two codes in a row."],
  ["already-confirmed", "This account is already confirmed. There is nothing left to do."],
  ["enrolment-expired", "The setup was not finished in time. Ask for a new invitation."],
  ["unknown-invitation", "This invitation is not valid any more. It was used, or it expired. Ask for a new one."],
  ["account-frozen", "This account is frozen. Nothing can be signed until the service lifts the freeze."],
  ["no-recovery", "No recovery of this account is under way. There is nothing to cancel."],
  ["unknown-key", "The service does not know this key. Check the link that you were given."],
  ["tenant-full", "The service takes no more accounts right now. Ask it for help."],
  ["unsupported-factor", "This service asked for a kind of code that is not supported. Tell the service."],
  ["floor-not-possible", "This account has nothing as strong as its key asks for. Set it up again with a passkey."],
  // The device and the passkey.
  ["no-device", "This account has no device that could approve this. Set it up again with an invitation."],
  ["unknown-device", "This device does not belong to the account. Use the one that you set the account up with."],
  ["wrong-device-signature", "What this device sent was changed on the way. Nothing was approved. Try again from the start."],
  ["malformed-device-signature", "This app does not fit the service. Update it, then try again."],
  ["malformed-device-key", "This app does not fit the service. Update it, then try again."],
  ["wrong-seal", "What this device sent could not be opened. Reload and try again."],
  ["unknown-passkey", "This passkey does not belong to the account. Use one that you set the account up with."],
  ["passkey-malformed", "The passkey's answer could not be read. Try again, or use another passkey."],
  ["passkey-duplicate-key", "The passkey's answer could not be read. Try again, or use another passkey."],
  ["passkey-wrong-type", "The passkey was asked for something else. Open this again and repeat it."],
  ["passkey-wrong-challenge", "The passkey approved something else. Nothing was signed. Open this again."],
  ["passkey-wrong-origin", "The passkey was used on another page. Open the page that you set it up on."],
  ["passkey-cross-origin", "This page is shown inside another one. Open it by itself."],
  ["passkey-wrong-rp", "This passkey belongs to another site. Use the one that you set the account up with."],
  ["passkey-user-not-present", "The passkey was not touched. Try again, and touch it when asked."],
  ["passkey-user-not-verified", "The passkey did not check that it is you. Use its PIN, your fingerprint or your face."],
  ["passkey-malformed-signature", "This app does not fit the service. Update it, then try again."],
  ["passkey-wrong-signature", "The passkey's answer does not fit. Try again from the start."],
  ["passkey-counter", "This passkey may have been copied. Use another one, and tell the service."],
  ["passkey-backup-flags", "This passkey says something about its backup that cannot be true. Use another, and tell the service."],
  ["passkey-unsupported-key", "This kind of passkey does not work here. Use another one."],
  ["too-many-passkeys", "An account takes at most four passkeys, each once. Leave some out."],
  ["no-passkey", "No passkey of this account is known on this device. Approve with a code instead."],
  ["passkey-failed", "The passkey was not used. You may have cancelled it, or it took too long. Try again."],
  ["passkey-unsupported", "This passkey or this browser does not work here. Go on without a passkey, or use another one."],
  // What this device declines by itself.
  ["malformed-name", "This link names no valid account. Check that you copied all of it."],
  ["malformed-link", "This link is not complete. Check that you copied all of it."],
  ["not-enrolled", "This device is not set up for that account. Use the device that is, or ask for an invitation."],
  ["image-changed", "The HSM runs another program than before. Accept it first, if your service told you so. Nothing was sent."],
  ["already-enrolled", "This device is already set up for that account. Remove it here first if you want to begin again."],
  // The HSM.
  ["malformed-request", "This app does not fit the service. Update it, then try again."],
  ["busy", "The service is busy. Try again in a moment."],
  ["clock-unsure", "The service's clock is not certain, so it takes no codes. The service has to repair that."],
  ["store-full", "The service has no room to record anything, so nothing was done. Try again later."],
  ["store-unreadable", "The service cannot read its records right now, so nothing was done. Try again later."],
  ["hsm-unreachable", "The service cannot be reached right now. Try again in a moment."],
  ["hsm-not-ready", "The service is starting. Try again in a moment."],
]);

/** For a reason that this version does not know. */
const ANY_REFUSAL = "The service refused this. Nothing was released. If it happens again, tell the service the word below.";

/** The sentence of a refusal's word. */
export function refusalSentence(reason: string): string {
  return REFUSALS.get(reason) ?? ANY_REFUSAL;
}

const STOP = "Do not continue, and tell the service.";

const DISTRUSTS: ReadonlyMap<string, string> = new Map([
  ["wrong-root", `What answered is not the HSM that you trust: its fingerprint is another one. ${STOP}`],
  ["bad-signature", `The answer is not signed by the HSM that you trust. Somebody changed it. ${STOP}`],
  ["other-hsm", `Another HSM answered than the one this account was set up with. ${STOP}`],
  ["other-image", `The answer was made by another program than the one that answers now. Open this again. If it stays so, tell the service.`],
  ["other-account", `The answer is about another account or service than yours. ${STOP}`],
  ["other-intent", `The answer is about something else than what you opened or approved. ${STOP}`],
  ["stale-answer", `The answer is an old one that was played again. ${STOP}`],
  ["unknown-factor", `The account would have a way in that is not yours. Deposit nothing. ${STOP}`],
  ["missing-factor", `The account lacks something that you just gave it. Deposit nothing. ${STOP}`],
  ["wrong-address", `An address does not belong to its key. Deposit nothing. ${STOP}`],
  ["wrong-seal", `The secret is not the one that the HSM made for this device. Deposit nothing. ${STOP}`],
  ["malformed-statement", `The answer cannot be read. Update this app; if that does not help, tell the service.`],
]);

/** The sentence for something that is not trusted. */
export function notTrustedSentence(word: string): string {
  return DISTRUSTS.get(word) ?? `The answer does not fit what was asked. ${STOP}`;
}
