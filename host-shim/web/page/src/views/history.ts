/** What the account signed: what this device approved, and what it did not. */

import { fromHex, NotTrusted, toHex, verifyReceipt, type AccountView, type Entry } from "@countersign/device";
import { attribute } from "../attribution.js";
import { button, fill, h } from "../dom.js";
import { clearProblem, problemPlace, showProblem } from "../problem.js";
import type { Session } from "../session.js";
import type { Remembered } from "../store.js";
import { approvalKind, moment } from "../words.js";
import { receiptCard, summaryOf } from "./parts.js";

export async function history(session: Session, seen: AccountView): Promise<HTMLElement> {
  const remembered = await session.store.remembered(seen.tenant, seen.account);
  const own = attribute(seen.entries, remembered);
  const entries = [...seen.entries].reverse().map((entry) => entryItem(session, entry, own.get(entry)));
  const listed = new Set(own.values());
  const earlier = remembered.filter((each) => !listed.has(each));
  return h(
    "div",
    { class: "card history", testid: "history" },
    h("h2", {}, "Signed"),
    h("p", { class: "hint", testid: "signatures" }, seen.signatures === 1 ? "One signature so far" : `${seen.signatures} signatures so far`),
    entries.length === 0 ? null : h("ol", { class: "entries" }, ...entries),
    earlier.length === 0 ? null : h("details", {}, h("summary", {}, "Also decided on this device"), h("ol", { class: "entries" }, ...earlier.map((each) => earlierItem(session, each)))),
  );
}

function entryItem(session: Session, entry: Entry, own: Remembered | undefined): HTMLElement {
  const approvedHere = own !== undefined;
  return h(
    "li",
    { class: approvedHere ? "entry" : "entry foreign", testid: "entry", "data-own": String(approvedHere) },
    h("p", { class: "headline" }, entry.headline),
    h("p", { class: "hint" }, `${moment(entry.time)} · no. ${entry.counter} · ${approvalKind(entry.approval)}`),
    approvedHere
      ? h("p", { class: "mine", testid: "approved-here" }, "Approved on this device")
      : h("p", { class: "elsewhere", testid: "elsewhere" }, "Approved elsewhere, not on this device. If that was not you, freeze the account."),
    approvedHere ? receiptOf(session, own, true) : null,
  );
}

const DECISIONS = { sent: "Approval sent, not known to have arrived,", approved: "Approved", declined: "Declined" } as const;

function earlierItem(session: Session, own: Remembered): HTMLElement {
  return h(
    "li",
    { class: "entry", testid: "earlier" },
    h("p", { class: "hint" }, `${DECISIONS[own.decision]} ${moment(own.time)}`),
    summaryOf(own.summary),
    own.decision !== "declined" ? receiptOf(session, own, own.receipt !== undefined) : null,
  );
}

/** A receipt that is here is verified again from the root; another one is asked for while the HSM still has it. */
function receiptOf(session: Session, own: Remembered, offer: boolean): HTMLElement | null {
  if (!offer) return null;
  const place = h("div", {});
  const problem = problemPlace();
  const show = button("Show receipt", { class: "quiet", testid: "receipt-show" }, () => {
    clearProblem(problem);
    void load(session, own)
      .then((card) => {
        fill(place, card);
        show.remove();
      })
      .catch((error: unknown) => showProblem(problem, error));
  });
  return h("div", { class: "entry-receipt" }, show, problem, place);
}

async function load(session: Session, own: Remembered): Promise<HTMLElement> {
  let file = own.receipt;
  if (file === undefined) {
    ({ file } = await (await session.deviceOf(own)).receipt(own, fromHex(own.intent)));
  }
  const receipt = await verifyReceipt(file, await session.rootOf(own));
  const fits = toHex(receipt.intentHash) === own.intentHash && receipt.account === own.account && receipt.tenant === own.tenant;
  if (!fits) throw new NotTrusted("other-intent");
  if (own.receipt === undefined) await session.store.remember({ ...own, decision: "approved", counter: receipt.counter, receipt: file });
  return receiptCard(receipt, file);
}
