/** A root that this website named: shown to be compared, before anything rests on it. */

import { h } from "../dom.js";
import type { Session } from "../session.js";
import { grouped } from "../words.js";

export interface RootCheck {
  readonly element: HTMLElement | null;
  /** True where there is nothing to compare, or its user says that it was compared. Says what is missing. */
  confirmed(): boolean;
}

export function rootCheck(session: Session): RootCheck {
  if (session.rootSeen || session.pinned === undefined) return { element: null, confirmed: () => true };
  const box = h("input", { type: "checkbox", id: "root-confirm", testid: "root-confirm", required: true, "aria-describedby": "root-named root-unconfirmed" });
  const wrong = h("p", { class: "field-problem", id: "root-unconfirmed", role: "alert", testid: "root-unconfirmed" });
  box.addEventListener("change", () => (wrong.textContent = ""));
  const element = h(
    "div",
    { class: "root-check", testid: "root-check" },
    h("h3", {}, "The HSM's fingerprint"),
    h("p", { id: "root-named" }, "Named by this website: compare it with what your custodian gave you elsewhere, in a letter or a contract."),
    h("p", { class: "mono fingerprint", testid: "root-named", "data-fingerprint": session.pinned }, grouped(session.pinned)),
    h("div", { class: "choice" }, box, h("div", {}, h("label", { for: "root-confirm" }, "I compared it, and all of it is the same"), wrong)),
  );
  const confirmed = (): boolean => {
    if (box.checked) return true;
    wrong.textContent = "Compare the fingerprint first. Everything that this page shows rests on it.";
    box.focus();
    return false;
  };
  return { element, confirmed };
}

/** What can be said of the HSM, once its identity was verified: who named its root. */
export function rootTick(session: Session): string {
  return session.rootSource === "website"
    ? "The HSM has the fingerprint that this website named and you compared."
    : "The HSM has the fingerprint that you entered.";
}
