/** What several views show: a view's frame, a summary, keys, a receipt. */

import { NotTrusted, summaryLines, type AccountKey, type ShownKey, type Receipt, type ReceiptFile, type Whose } from "@countersign/device";
import { button, h } from "../dom.js";
import { problemPlace, showProblem } from "../problem.js";
import type { Session } from "../session.js";
import { approvalKind, moment } from "../words.js";

/** A view: its heading, which takes the focus, and its content. */
export function frame(name: string, title: string, ...children: readonly (Node | string | null)[]): HTMLElement {
  return h("section", { class: `view view-${name}`, testid: `view-${name}` }, h("h1", { tabindex: "-1", testid: "title" }, title), ...children);
}

/** The view that this is part of became another one: its heading says so and takes the focus. A view that is gone stays silent. */
export function retitle(part: Element, title: string): void {
  const heading = part.closest(".view")?.querySelector("h1");
  if (!(heading instanceof HTMLElement)) return;
  heading.textContent = title;
  if (!heading.isConnected) return;
  document.title = `${title} · Countersign`;
  heading.focus();
}

export function loading(text: string): HTMLElement {
  return h("p", { class: "loading", role: "status", testid: "loading" }, text);
}

/** Whose account it is. */
export function whoseLine(session: Session, whose: Whose): HTMLElement {
  return h(
    "p",
    { class: "whose" },
    h("span", { class: "whose-account", testid: "account" }, whose.account),
    h("span", { class: "whose-service", testid: "tenant" }, `at ${session.serviceName(whose.tenant)}`),
  );
}

/** All of a summary: the warnings apart and first. It is text, whatever it says. */
export function summaryOf(summary: string): HTMLElement {
  const { warnings, lines } = summaryLines(summary);
  const warned = h(
    "div",
    { class: "warnings", role: "note", "aria-label": "Warnings", testid: "warnings" },
    h("p", { class: "warnings-title" }, warnings.length === 1 ? "Warning" : `${warnings.length} warnings`),
    h("ul", {}, ...warnings.map((warning) => h("li", { testid: "warning" }, warning))),
  );
  const list = h(
    "dl",
    { class: "summary", testid: "summary" },
    ...lines.map(({ label, text }) =>
      h("div", { class: "summary-line", testid: "summary-line" }, h("dt", {}, label === "" ? "·" : label), h("dd", { class: /^\S{21,}$/.test(text) ? "mono" : "" }, text)),
    ),
  );
  return h("div", {}, warnings.length > 0 ? warned : null, list);
}

/** What a user has to know before anything is deposited: what this browser keeps, and what is lost with it. */
export async function storageNote(session: Session): Promise<HTMLElement> {
  const persistent = await session.store.persistent();
  return h(
    "div",
    { class: "storage", testid: "storage", "data-persistent": String(persistent) },
    h("p", { testid: "device-loss" }, h("strong", {}, "Clearing this browser's data loses this device for good."), " Passkeys stay: whoever has one can still approve with it."),
    h("p", { class: "hint" }, persistent ? "This browser promised to keep what this page stores when space is short." : "This browser did not promise to keep what this page stores. It may clear it when space is short."),
  );
}

/** A key. Its address was checked where it was read; one that does not fit is not there to be shown. */
export function keyCard(key: AccountKey & Partial<Pick<ShownKey, "addressFits">>): HTMLElement {
  const wrong = problemPlace();
  if (key.addressFits === false) showProblem(wrong, new NotTrusted("wrong-address"));
  const name = key.key.slice(key.key.indexOf("/") + 1);
  return h(
    "div",
    { class: "key", testid: "key" },
    h("p", { class: "key-name" }, name, key.network === "" ? "" : ` · ${key.network}`),
    wrong,
    key.address === "" ? null : h("p", { class: "address", testid: "address" }, key.address),
    h("p", { class: "hint" }, key.floor === "passkey" ? "Signs only with a passkey" : key.floor === "code" ? "Signs with a code" : "Signs with a code on this device"),
  );
}

export function receiptCard(receipt: Receipt, file: ReceiptFile): HTMLElement {
  return h(
    "article",
    { class: "card receipt", testid: "receipt", "aria-label": "Receipt" },
    h("p", { class: "stamp", "aria-hidden": "true" }, "Signed"),
    h("h2", {}, "Receipt"),
    summaryOf(receipt.summary),
    h(
      "dl",
      { class: "facts" },
      fact("Key", receipt.key),
      fact("Approved with", approvalKind(receipt.approval)),
      fact("Signature", `number ${receipt.counter} of this account`, "receipt-counter"),
      fact("Signed at", moment(receipt.time)),
    ),
    h("p", { class: "hint" }, "Signed by the HSM, and checked on this device from the root that you trust."),
    button("Download receipt", { class: "secondary", testid: "receipt-download" }, () => download(receipt, file)),
  );
}

export function fact(name: string, value: string, testid = ""): HTMLElement {
  return h("div", {}, h("dt", {}, name), h("dd", testid === "" ? {} : { testid }, value));
}

function download(receipt: Receipt, file: ReceiptFile): void {
  const url = URL.createObjectURL(new Blob([`${JSON.stringify(file)}\n`], { type: "application/json" }));
  const link = h("a", { href: url, download: `receipt-${receipt.account.replace(/[^a-z0-9._-]/g, "_")}-${receipt.counter}.json` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
