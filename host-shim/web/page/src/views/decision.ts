/** The decision itself: with a code, with a passkey, or no. One thing is under way at a time. */

import { browserAsker, Refused, toHex, Unreachable, type Device, type Enrolment, type Evidence, type View } from "@countersign/device";
import { codeField, nextCode } from "../code-field.js";
import { complete } from "../code-pair.js";
import { announce, busy, eachSecond, fill, h } from "../dom.js";
import { linkTo } from "../link.js";
import { clearProblem, problemPlace, showProblem } from "../problem.js";
import { HsmClock } from "../session.js";
import type { Remembered } from "../store.js";
import { duration } from "../words.js";
import { decided, over, type Asked } from "./approve.js";

/** What the parts of a decision share. */
interface Deciding {
  readonly asked: Asked;
  readonly shown: View;
  readonly clock: HsmClock;
  readonly place: HTMLElement;
  readonly problem: HTMLElement;
  /** True while something is under way: then nothing else begins. */
  busy: boolean;
}

export function decision(asked: Asked, enrolment: Enrolment | undefined, shown: View): HTMLElement {
  const place = h("div", { class: "decision", testid: "decision" });
  const left = h("p", { class: "expiry", role: "timer", testid: "expiry" });
  const deciding: Deciding = { asked, shown, clock: HsmClock.of(shown), place, problem: problemPlace(), busy: false };
  const strongOnly = shown.floor === "passkey";
  const hasPasskey = enrolment === undefined || enrolment.passkeys.length > 0;
  fill(
    place,
    left,
    deciding.problem,
    enrolment === undefined ? h("p", { class: "hint", testid: "passkey-only" }, "This browser is not set up for this account. You can approve with a passkey of it.") : null,
    strongOnly || enrolment === undefined ? null : codeForm(deciding, enrolment),
    hasPasskey ? passkeyButton(deciding, strongOnly || enrolment === undefined, enrolment !== undefined) : null,
    strongOnly && !hasPasskey ? h("p", { testid: "needs-passkey" }, "This key signs only with a passkey, and this account has none on this device.") : null,
    enrolment === undefined ? null : declineButton(deciding),
  );
  eachSecond(left, () => tick(deciding, left));
  return place;
}

/** What is under way when the time is over may still arrive in time: it is only not asked for again. */
function tick({ asked, shown, clock, place, busy: underWay }: Deciding, left: HTMLElement): void {
  const secs = shown.expires - clock.now();
  left.textContent = secs > 0 ? `You have ${duration(secs)} to decide` : "The time to decide is over.";
  if (secs > 0) return;
  for (const press of place.querySelectorAll("button")) press.disabled = true;
  if (underWay) return;
  place.remove();
  announce("The time to decide is over.");
  void over(asked, shown);
}

/** Does one thing, unless another is under way. */
function once(deciding: Deciding, pressed: HTMLButtonElement, work: () => Promise<void>): void {
  if (deciding.busy) return;
  deciding.busy = true;
  const others = [...deciding.place.querySelectorAll("button")].filter((each) => each !== pressed);
  for (const each of others) each.disabled = true;
  clearProblem(deciding.problem);
  void busy(pressed, work).finally(() => {
    deciding.busy = false;
    for (const each of others) each.disabled = false;
  });
}

function codeForm(deciding: Deciding, enrolment: Enrolment): HTMLElement {
  const { totp } = enrolment;
  const field = codeField("Your code", "code", totp);
  const wait = h("div", { class: "wait" });
  const press = h("button", { type: "submit", class: "primary", testid: "approve" }, "Approve with this code");
  const form = h("form", { novalidate: true, testid: "code-form" }, field.element, wait, press);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (deciding.busy || !complete(field, totp)) return;
    once(deciding, press, async () => {
      const word = await approveWith(deciding, true, (device) => device.sealedEvidence(deciding.shown, field.input.value));
      if (word === "") return;
      field.input.value = "";
      // The line below counts down to the same moment.
      if (word === "code-used") deciding.problem.querySelector("[data-testid=retry-after]")?.remove();
      // Each code works once and a wrong one never gets right: either way the next one is needed.
      if (word === "code-used" || word === "wrong-code") fill(wait, nextCode(new HsmClock(deciding.clock.now()), totp, "next-code"));
      const next = form.isConnected ? (deciding.problem.querySelector("button") ?? field.input) : null;
      next?.focus();
    });
  });
  return form;
}

function passkeyButton(deciding: Deciding, only: boolean, keep: boolean): HTMLElement {
  const press = h("button", { type: "button", class: only ? "primary" : "secondary", testid: "approve-passkey" }, "Approve with your passkey");
  press.addEventListener("click", () => {
    once(deciding, press, async () => void (await approveWith(deciding, keep, (device) => device.passkeyEvidence(deciding.shown, browserAsker))));
  });
  return press;
}

function declineButton(deciding: Deciding): HTMLElement {
  const press = h("button", { type: "button", class: "quiet", testid: "decline" }, "Decline");
  press.addEventListener("click", () => {
    once(deciding, press, async () => {
      const { asked, shown } = deciding;
      try {
        await (await asked.session.deviceOf(shown)).decline(shown);
        await asked.session.store.remember({ ...entryOf(deciding), decision: "declined" });
        finish(deciding, "declined");
      } catch (error) {
        failed(deciding, error);
      }
    });
  });
  return press;
}

/**
 * Approves: makes the evidence, remembers what is sent before it goes, and sends it. Gives the word of what went wrong; empty where nothing
 * did. Without `keep` nothing stays here: this browser is not the account's.
 */
async function approveWith(deciding: Deciding, keep: boolean, make: (device: Device) => Promise<Evidence>): Promise<string> {
  const { asked, shown } = deciding;
  const { store } = asked.session;
  const before = await store.recall(shown.tenant, shown.account, toHex(shown.intent));
  const entry = entryOf(deciding);
  let isSent = false;
  try {
    const device = await asked.session.deviceOf(shown);
    const evidence = await make(device);
    isSent = true;
    if (keep) await store.remember({ ...entry, decision: "sent" });
    await device.approve(shown, evidence);
    if (keep) await store.remember({ ...entry, decision: "approved" });
    finish(deciding, "approved");
    return "";
  } catch (error) {
    // A refusal is certain, unless an earlier try may have arrived.
    if (keep && error instanceof Refused && before === undefined) await store.forget({ ...entry, decision: "sent" });
    const mayHaveArrived = isSent && !(error instanceof Refused);
    if (mayHaveArrived && error instanceof Unreachable && (await arrived(deciding))) return "";
    return failed(deciding, error, mayHaveArrived);
  }
}

/** Nobody answered: the intent itself tells whether the approval arrived. */
async function arrived({ asked, shown, place }: Deciding): Promise<boolean> {
  try {
    const now = await (await asked.session.deviceOf(shown)).viewIntent(shown, shown.intent);
    if (now.state === "open" || !place.isConnected) return false;
    place.remove();
    asked.sent = true;
    decided(asked, now);
    return true;
  } catch {
    return false;
  }
}

function entryOf({ shown, clock }: Deciding): Remembered {
  const { tenant, account, key, summary, expires } = shown;
  const [intentHash, intent] = [toHex(shown.intentHash), toHex(shown.intent)];
  return { tenant, account, intentHash, intent, key, summary, expires, decision: "sent", time: Math.floor(clock.now()) };
}

function finish({ asked, shown, place }: Deciding, state: "approved" | "declined"): void {
  if (state === "approved") asked.sent = true;
  const isSeen = place.isConnected;
  place.remove();
  if (!isSeen) return;
  announce(state === "approved" ? "Approved." : "Declined.");
  decided(asked, { ...shown, state });
}

const NEEDS_PAIR = ["locked", "account-over-budget", "tenant-over-budget"];

function failed({ asked, shown, problem }: Deciding, error: unknown, maybeArrived = false): string {
  const again = h("button", { type: "button", class: "secondary", testid: "look-again" }, "Look again");
  again.addEventListener("click", asked.again);
  const { word } = showProblem(problem, error);
  if (maybeArrived) {
    problem.append(h("p", { testid: "maybe-arrived" }, "Your approval was sent, and it may have arrived. Look again before you repeat it."), again);
  }
  if (NEEDS_PAIR.includes(word)) problem.append(h("p", {}, h("a", { href: linkTo("account", shown), testid: "unlock-link" }, "Unlock with two codes")));
  return word;
}
