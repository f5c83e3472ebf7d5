/** Sets up an account on this device: asks, verifies, shows the secret once, and finishes with two codes. */

import { browserRegistrar, passkeysSupported, type Bytes, type Opened, type Whose } from "@countersign/device";
import { announce, busy, button, fill, h } from "../dom.js";
import { codePair } from "../code-pair.js";
import { holdOpen, release } from "../leave.js";
import { linkTo } from "../link.js";
import { clearProblem, problemPlace, showProblem } from "../problem.js";
import { qrCode } from "../qr.js";
import { HsmClock, type Session } from "../session.js";
import { grouped, roughly } from "../words.js";
import { frame, keyCard, storageNote, whoseLine } from "./parts.js";
import { rootCheck, rootTick } from "./root.js";

/** Shows the view that the address names now. */
type Again = () => void;

export async function enroll(session: Session, whose: Whose, invitation: Bytes, again: Again): Promise<HTMLElement> {
  const view = frame("enroll", "Set up your account", whoseLine(session, whose));
  const known = await session.store.get(whose.tenant, whose.account);
  if (known?.confirmed === true) view.append(alreadyHere(whose));
  else {
    if (known !== undefined) view.append(unfinished(whose));
    view.append(begin(session, whose, invitation, view, again));
  }
  return view;
}

function alreadyHere(whose: Whose): HTMLElement {
  return h(
    "div",
    { class: "card", testid: "already-enrolled" },
    h("p", {}, "This device is already set up for this account."),
    h("p", {}, h("a", { href: linkTo("account", whose), class: "button primary" }, "Open the account")),
  );
}

/** A setup that was begun here can be finished, or begun again with another invitation. */
function unfinished(whose: Whose): HTMLElement {
  return h(
    "div",
    { class: "card", testid: "unfinished" },
    h("p", {}, "A setup of this account was begun on this device and not finished."),
    h("p", {}, "Did you scan its secret? Then ", h("a", { href: linkTo("account", whose), testid: "unfinished-account" }, "finish it with two codes"), ". If not, set up again below: that replaces it."),
  );
}

const STEPS = [
  "This device makes its own keys. They never leave it.",
  "It checks that it talks to the HSM that you trust, and to no other.",
  "You scan a QR code with your authenticator app and type two codes.",
];

function begin(session: Session, whose: Whose, invitation: Bytes, view: HTMLElement, again: Again): HTMLElement {
  const passkey = passkeyChoice();
  const root = rootCheck(session);
  const problem = problemPlace();
  const start = h("button", { type: "submit", class: "primary", testid: "enroll-start" }, "Set up");
  const form = h(
    "form",
    { class: "card", novalidate: true, testid: "enroll-form" },
    h("h2", {}, "What happens now"),
    h("ol", { class: "steps" }, ...STEPS.map((step) => h("li", {}, step))),
    root.element,
    passkey.element,
    problem,
    start,
  );
  const setUp = async (withPasskey: boolean): Promise<void> => {
    clearProblem(problem);
    try {
      const opened = await session.device.enroll({ ...whose, invitation }, withPasskey ? [browserRegistrar(whose)] : []);
      await session.keepPin();
      await showSecret(session, opened, view, form, again);
    } catch (error) {
      const without = h("button", { type: "button", class: "secondary", testid: "without-passkey" }, "Go on without a passkey");
      without.addEventListener("click", () => void busy(start, () => setUp(false)));
      const { word } = showProblem(problem, error);
      // Whether to go on with less is the user's to say.
      if (word === "passkey-failed" || word === "passkey-unsupported") problem.append(h("p", {}, without));
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (root.confirmed()) void busy(start, () => setUp(passkey.input.checked));
  });
  return form;
}

function passkeyChoice(): { element: HTMLElement; input: HTMLInputElement } {
  const supported = passkeysSupported();
  const input = h("input", { type: "checkbox", id: "with-passkey", testid: "with-passkey", disabled: !supported, "aria-describedby": "passkey-hint" });
  input.checked = supported;
  const hint = supported ? "Then you can approve with your fingerprint, your face or a security key." : "This browser cannot use passkeys here.";
  const text = h("div", {}, h("label", { for: "with-passkey" }, "Also add a passkey"), h("p", { class: "hint", id: "passkey-hint" }, hint));
  return { element: h("div", { class: "choice" }, input, text), input };
}

/** Only what was verified in full gets here. A view that was left meanwhile shows no secret. */
async function showSecret(session: Session, opened: Opened, view: HTMLElement, before: HTMLElement, again: Again): Promise<void> {
  const { receipt, confirmWithinSecs } = opened;
  const checked = await checks(session, opened);
  if (!before.isConnected) return;
  const scan = secretCard(opened);
  const form = codePair({
    totp: opened.enrolment.totp,
    clock: new HsmClock(receipt.now),
    testid: "confirm",
    action: "Finish",
    submit: async (first, second) => {
      await session.device.confirm(receipt, first, second);
      if (scan.isConnected) release();
      done(view, receipt, again);
    },
  });
  const type = h("div", { class: "card" }, h("h2", {}, "2. Type two codes in a row"), h("p", {}, `Finish within ${roughly(confirmWithinSecs)}, and keep this page open until then.`), form);
  before.replaceWith(checked, scan, type);
  view.querySelector("[data-testid=unfinished]")?.remove();
  holdOpen(scan);
  // The invitation is spent. What is opened again from here is the account.
  history.replaceState(null, "", linkTo("account", receipt));
  announce("The checks passed. Scan the QR code, then type two codes.");
  checked.querySelector("h2")?.focus();
}

function secretCard({ otpauth }: Opened): HTMLElement {
  const copied = h("p", { class: "copied", role: "status", testid: "copied" });
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(otpauth.secret);
      copied.textContent = "Copied";
    } catch {
      copied.textContent = "This browser does not let the page copy. Select the secret above and copy it yourself.";
    }
  };
  return h(
    "div",
    { class: "card", testid: "secret" },
    h("h2", {}, "1. Scan this"),
    h("p", {}, "Use an authenticator app on another device if you can. This code is shown once."),
    qrCode(otpauth.uri, "QR code for your authenticator app"),
    h(
      "details",
      {},
      h("summary", { testid: "secret-type" }, "Cannot scan? Type it"),
      h("p", { class: "hint" }, "Account name"),
      h("p", { class: "mono" }, otpauth.label),
      h("p", { class: "hint" }, "Secret"),
      h("p", { class: "mono secret-text", testid: "secret-text" }, grouped(otpauth.secret), h("span", { class: "unseen", "aria-hidden": "true", testid: "secret-uri" }, otpauth.uri)),
      button("Copy the secret", { class: "secondary", testid: "secret-copy" }, () => void copy()),
      copied,
    ),
  );
}

/** What was verified before anything was shown. */
async function checks(session: Session, { receipt }: Opened): Promise<HTMLElement> {
  const with_ = receipt.passkeys.length === 0 ? "this device and your authenticator" : "this device, your authenticator and your passkey";
  const { clock } = await session.device.identity();
  return h(
    "div",
    { class: "card checked", testid: "checked" },
    h("h2", { tabindex: "-1" }, "Checked"),
    clock === "manual" ? h("p", { class: "elsewhere", testid: "check-clock" }, "This HSM runs on a clock for tests. Keep nothing of value here.") : null,
    h(
      "ul",
      { class: "ticks" },
      h("li", { testid: "check-root" }, rootTick(session)),
      h("li", {}, `The account opens with ${with_}, and nothing else.`),
      h("li", {}, "The addresses below belong to its keys."),
    ),
    await storageNote(session),
    ...receipt.keys.map(keyCard),
  );
}

function done(view: HTMLElement, whose: Whose, again: Again): void {
  const heading = h("h2", { tabindex: "-1" }, "Your account is ready");
  const open = h("a", { href: linkTo("account", whose), class: "button primary", testid: "open-account" }, "Open the account");
  // The address is the account's already, so following the link would change nothing.
  open.addEventListener("click", (event) => {
    event.preventDefault();
    again();
  });
  fill(
    view,
    h("h1", { tabindex: "-1", testid: "title" }, "Set up your account"),
    h("div", { class: "card done", testid: "enrolled" }, heading, h("p", {}, "From now on nothing is signed with it unless you approve it."), h("p", {}, open)),
  );
  if (view.isConnected) heading.focus();
}
