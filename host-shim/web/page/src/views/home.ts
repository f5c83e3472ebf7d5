/** The accounts of this device, and what waits for them. */

import { summaryLines, toHex, type AccountView, type Enrolment } from "@countersign/device";
import { eachSecond, fill, h } from "../dom.js";
import { linkTo, parseLink } from "../link.js";
import { problemPlace, showProblem } from "../problem.js";
import { HsmClock, type Session } from "../session.js";
import { duration } from "../words.js";
import { frame } from "./parts.js";

export async function home(session: Session): Promise<HTMLElement> {
  const enrolments = await session.store.list();
  const view = frame("home", "Your accounts");
  if (enrolments.length === 0) view.append(empty());
  else view.append(h("ul", { class: "accounts", testid: "accounts" }, ...enrolments.map((each) => card(session, each))));
  view.append(openLink());
  return view;
}

function empty(): HTMLElement {
  return h(
    "div",
    { class: "card empty", testid: "empty" },
    h("h2", {}, "Nothing here yet"),
    h("p", {}, "This device has no account. Your service gives you a link to set one up. Open it here."),
  );
}

function card(session: Session, enrolment: Enrolment): HTMLElement {
  const state = h("div", { class: "card-state", role: "status" }, h("p", { class: "hint" }, "Asking the HSM…"));
  const problem = problemPlace();
  void session
    .deviceOf(enrolment)
    .then((device) => device.account(enrolment))
    .then((account) => fill(state, ...stateOf(session, account)))
    .catch((error: unknown) => {
      fill(state);
      showProblem(problem, error);
    });
  return h(
    "li",
    { class: "card account-card", testid: "account-card" },
    h(
      "h2",
      {},
      h("a", { href: linkTo("account", enrolment), testid: "account-link" }, enrolment.account),
    ),
    h("p", { class: "hint" }, `at ${session.serviceName(enrolment.tenant)}`),
    state,
    problem,
  );
}

function stateOf(session: Session, account: AccountView): HTMLElement[] {
  const waiting = account.state === "frozen" ? [] : account.intents.filter(({ state }) => state === "open");
  return [badge(account), ...(waiting.length === 0 ? [] : [waitingList(session, account, "h3")])];
}

/** How the account is, in a word or two. */
export function badge(account: AccountView): HTMLElement {
  const [kind, text] =
    account.state === "frozen"
      ? ["frozen", "Frozen"]
      : account.state === "open"
        ? ["unfinished", "Setup not finished"]
        : account.lockedForSecs > 0
          ? ["locked", "Locked"]
          : ["ready", "Ready"];
  return h("p", { class: `badge badge-${kind}`, testid: "account-state", "data-state": kind }, text);
}

/** What waits for this user's approval. */
export function waitingList(session: Session, account: AccountView, heading: "h2" | "h3"): HTMLElement {
  const clock = HsmClock.of(account);
  const items = account.intents
    .filter(({ state }) => state === "open")
    .map(({ intent, expires }) => {
      const left = h("span", { class: "left" });
      eachSecond(left, () => {
        const secs = expires - clock.now();
        left.textContent = secs > 0 ? `${duration(secs)} left` : "expired";
      });
      const link = h("a", { href: linkTo("approve", account, toHex(intent)), testid: "waiting-link" }, "Look at it and decide");
      void name(session, account, intent, link);
      return h("li", {}, link, left);
    });
  return h("div", { class: "waiting" }, h(heading, {}, "Waiting for you"), h("ul", { testid: "waiting" }, ...items));
}

/** Names what waits by the first line that is no warning. The view itself shows all of it. */
async function name(session: Session, account: AccountView, intent: Uint8Array, link: HTMLElement): Promise<void> {
  try {
    const { summary } = await (await session.deviceOf(account)).viewIntent(account, intent);
    const [first] = summaryLines(summary).lines;
    if (first !== undefined) link.textContent = [first.label, first.text].filter((part) => part !== "").join(": ");
  } catch {
    // The link says enough; what is wrong is told where it leads.
  }
}

/** For those who were given a link as text. */
function openLink(): HTMLElement {
  const wrong = h("p", { class: "field-problem", id: "link-wrong", role: "alert", testid: "link-problem" });
  const input = h("input", { id: "link", type: "text", testid: "link-input", autocomplete: "off", spellcheck: "false", "aria-describedby": "link-wrong" });
  const form = h(
    "form",
    { class: "open-link", novalidate: true },
    h("label", { for: "link" }, "Have a link? Paste it here"),
    h("div", { class: "row" }, input, h("button", { type: "submit", class: "secondary", testid: "link-open" }, "Open")),
    wrong,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const at = input.value.indexOf("#");
    const hash = at < 0 ? "" : input.value.slice(at).trim();
    // Only the part behind the mark is used: wherever the link points to, this page stays this page.
    if (["enroll", "approve"].includes(parseLink(hash).view)) location.hash = hash;
    else wrong.textContent = "This is not a link to set up an account or to approve something. Check that you copied all of it.";
  });
  return form;
}
