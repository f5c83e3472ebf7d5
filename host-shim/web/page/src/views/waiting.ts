/** Waits for the signature of something approved, lets its user take it back, and shows its receipt. */

import { NotTrusted, Refused, toHex, Unreachable, type View } from "@countersign/device";
import { announce, busy, fill, h } from "../dom.js";
import { clearProblem, problemPlace, showProblem } from "../problem.js";
import { decided, type Asked } from "./approve.js";
import { loading, receiptCard, retitle } from "./parts.js";

/** How often the HSM is asked; where nobody answers, half as often each time, down to the second. */
const EVERY_MS = 2_000;
const SELDOM_MS = 30_000;

/** An approval is good for this long; then there is nothing left to wait for. */
const APPROVAL_LASTS_MS = 300_000;

/** Refusals that pass by themselves. */
const PASSING = ["busy", "hsm-unreachable", "hsm-not-ready", "store-unreadable", "too-many-requests"];

/** How long to wait after the given number of failures in a row; null where waiting does not help. */
export function waitAfter(error: unknown, failures: number): number | null {
  const passes = error instanceof Unreachable || (error instanceof Refused && PASSING.includes(error.reason));
  if (!passes) return null;
  return Math.max((error.retryAfterSecs ?? 0) * 1000, Math.min(SELDOM_MS, EVERY_MS * 2 ** failures));
}

export function watch(asked: Asked, approved: View, place: HTMLElement, back: HTMLElement): void {
  const waiting = loading("Your service can sign it now. This page shows the receipt as soon as it did.");
  const problem = problemPlace();
  retitle(asked.body, "Approved");
  fill(place, waiting, problem, takeBack(asked, approved, place), back);
  const until = performance.now() + APPROVAL_LASTS_MS;
  let failures = 0;
  const ask = async (): Promise<void> => {
    if (!place.isConnected) return;
    let wait = EVERY_MS;
    try {
      if (await isOver(asked, approved, place, back)) return;
      failures = 0;
      clearProblem(problem);
    } catch (error) {
      if (!place.isConnected) return;
      if (error instanceof Refused && error.reason === "unknown-intent") return restarted(place, back);
      const longer = waitAfter(error, ++failures);
      showProblem(problem, error);
      if (longer === null) return;
      wait = longer;
    }
    if (performance.now() < until) setTimeout(() => void ask(), wait);
    else if (failures === 0) waiting.textContent = "It was not signed in time. The approval is worth nothing any more. You can close this page.";
    else waiting.textContent = "The time is over, and the HSM did not answer. Your history shows whether it was signed.";
  };
  // The place is put on the page first.
  setTimeout(() => void ask(), 0);
}

/** True once there is nothing more to wait for. */
async function isOver(asked: Asked, approved: View, place: HTMLElement, back: HTMLElement): Promise<boolean> {
  const device = await asked.session.deviceOf(approved);
  const now = await device.viewIntent(approved, approved.intent);
  if (toHex(now.intentHash) !== toHex(approved.intentHash)) throw new NotTrusted("other-intent");
  if (!place.isConnected) return true;
  if (now.state === "signed") await showReceipt(asked, approved, place, back);
  if (now.state === "declined") {
    place.remove();
    decided(asked, now);
  }
  return now.state === "signed" || now.state === "declined";
}

/** The HSM forgot what was staged, and not what was approved. */
function restarted(place: HTMLElement, back: HTMLElement): void {
  const text = "The HSM was restarted and does not list this any more. Your approval still stands until it expires, so it may be signed yet. Your history shows whether it was.";
  fill(place, h("p", { testid: "restarted" }, text), back);
}

/** As long as it is not signed, its user can still say no. Where this device is not the account's it cannot. */
function takeBack(asked: Asked, approved: View, place: HTMLElement): HTMLElement {
  const holder = h("div", { class: "take-back" });
  const problem = problemPlace();
  const press = h("button", { type: "button", class: "secondary", testid: "take-back" }, "Take it back");
  const { store } = asked.session;
  press.addEventListener("click", () => {
    void busy(press, async () => {
      clearProblem(problem);
      try {
        await (await asked.session.deviceOf(approved)).decline(approved);
        const known = await store.recall(approved.tenant, approved.account, toHex(approved.intent));
        if (known !== undefined) await store.remember({ ...known, decision: "declined" });
        if (!place.isConnected) return;
        place.remove();
        announce("Taken back.");
        decided(asked, { ...approved, state: "declined" });
      } catch (error) {
        showProblem(problem, error);
      }
    });
  });
  void store.get(approved.tenant, approved.account).then((known) => {
    if (known !== undefined && approved.state === "approved") fill(holder, press, problem);
  });
  return holder;
}

async function showReceipt({ session, body, sent }: Asked, approved: View, place: HTMLElement, back: HTMLElement): Promise<void> {
  const device = await session.deviceOf(approved);
  const { receipt, file } = await device.receipt(approved, approved.intent, approved);
  const known = await session.store.recall(approved.tenant, approved.account, toHex(approved.intent));
  const isOwn = known !== undefined && known.decision !== "declined" && receipt.approval !== "code";
  // What was not approved here is not remembered as if it had been.
  if (isOwn) await session.store.remember({ ...known, decision: "approved", counter: receipt.counter, receipt: file });
  if (!place.isConnected) return;
  place.dataset["state"] = "signed";
  // The receipt says all that the document above it says.
  body.querySelector("[data-testid=document]")?.remove();
  retitle(body, "Signed");
  const elsewhere = h("p", { class: "elsewhere", testid: "elsewhere" }, "This was not approved on this device.");
  fill(place, isOwn || sent ? null : elsewhere, receiptCard(receipt, file), back);
  announce("Signed. The receipt is shown.");
}
