/** Shows what would be signed, and asks. */

import { Refused, type Bytes, type View, type Whose } from "@countersign/device";
import { fill, h } from "../dom.js";
import { linkTo } from "../link.js";
import { problemPlace, showProblem } from "../problem.js";
import type { Session } from "../session.js";
import { decision } from "./decision.js";
import { imageCard } from "./image.js";
import { frame, loading, retitle, summaryOf, whoseLine } from "./parts.js";
import { rootCheck } from "./root.js";
import { watch } from "./waiting.js";

/** What this view is about, and how it begins again. */
export interface Asked {
  readonly session: Session;
  readonly whose: Whose;
  readonly intent: Bytes;
  readonly body: HTMLElement;
  /** Looks at the intent anew, and shows what there is to say of it then. */
  readonly again: () => void;
  /** True once an approval went out from this view, and was taken. */
  sent: boolean;
}

export async function approve(session: Session, whose: Whose, intent: Bytes): Promise<HTMLElement> {
  const body = h("div", { class: "approve-body" });
  const view = frame("approve", "Do you approve this?", whoseLine(session, whose), body);
  const asked: Asked = { session, whose, intent, body, again: () => begin(asked), sent: false };
  const known = await session.store.get(whose.tenant, whose.account);
  // An account that is here has a root of its own; without one, everything rests on the pinned root.
  if (known === undefined && !session.rootSeen) body.append(compareFirst(asked));
  else begin(asked);
  return view;
}

function compareFirst(asked: Asked): HTMLElement {
  const root = rootCheck(asked.session);
  const form = h("form", { class: "card", novalidate: true, testid: "root-first" }, h("h2", {}, "One thing first"), root.element, h("button", { type: "submit", class: "primary", testid: "root-continue" }, "Continue"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (root.confirmed()) void asked.session.keepPin().then(asked.again);
  });
  return form;
}

function begin(asked: Asked): void {
  fill(asked.body, loading("Asking the HSM what it would sign…"));
  void show(asked);
}

async function show(asked: Asked): Promise<void> {
  const { session, whose, intent, body } = asked;
  try {
    const device = await session.deviceOf(whose);
    const shown = await device.viewIntent(whose, intent);
    const enrolment = await session.store.get(whose.tenant, whose.account);
    const isOpen = shown.state === "open" && shown.expires > shown.now;
    const image = isOpen ? await imageCard(session, whose, asked.again) : null;
    fill(body, documentOf(shown), image);
    if (image !== null) return;
    if (isOpen) body.append(decision(asked, enrolment, shown));
    else decided(asked, shown);
  } catch (error) {
    lost(asked, error);
  }
}

/** The intent cannot be seen. */
export function lost({ session, body, again }: Asked, error: unknown): void {
  const problem = problemPlace();
  const retry = h("button", { type: "button", class: "secondary", testid: "retry" }, "Try again");
  retry.addEventListener("click", () => {
    session.forgetIdentity();
    again();
  });
  fill(body, problem);
  showProblem(problem, error, retry);
}

/** What the HSM says it would sign, all of it. */
function documentOf(shown: View): HTMLElement {
  const name = shown.key.slice(shown.key.indexOf("/") + 1);
  return h(
    "article",
    { class: "card document", testid: "document", "aria-label": "What would be signed" },
    summaryOf(shown.summary),
    h(
      "p",
      { class: "document-foot" },
      shown.purpose === "payee" ? "A payee to remember" : h("span", {}, "Signed with key ", h("strong", { testid: "view-key" }, name)),
      shown.digests.length > 1 ? ` · ${shown.digests.length} signatures` : "",
    ),
  );
}

/** The time is over: what became of it is the HSM's to say. */
export async function over(asked: Asked, shown: View): Promise<void> {
  const { session, whose, intent, body } = asked;
  try {
    const now = await (await session.deviceOf(whose)).viewIntent(whose, intent);
    if (!body.isConnected) return;
    // The HSM's clock counts, and this device's ran ahead of it.
    if (now.state === "open" && now.expires > now.now) asked.again();
    else decided(asked, now);
  } catch (error) {
    if (!body.isConnected) return;
    // What expired while it was open is gone.
    if (error instanceof Refused && error.reason === "unknown-intent") decided(asked, shown);
    else lost(asked, error);
  }
}

/** What there is to say once it is decided. */
export function decided(asked: Asked, shown: View): void {
  const { body } = asked;
  const place = h("div", { class: "outcome", testid: "outcome", "data-state": shown.state });
  body.append(place);
  const back = h("p", {}, h("a", { href: linkTo("account", shown), testid: "back" }, "Back to the account"));
  const say = (title: string, text: string, testid: string): void => {
    retitle(body, title);
    fill(place, h("p", { testid }, text), back);
  };
  if (shown.state === "declined") say("Declined", "Nothing was signed, and this cannot be approved any more.", "declined");
  else if (shown.state === "open") say("Too late", "The time to decide is over. Nothing was signed.", "expired");
  else if (shown.purpose === "payee") say("Approved", "The payee is remembered.", "payee-approved");
  else watch(asked, shown, place, back);
}
