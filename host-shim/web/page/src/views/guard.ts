/** What a user does when something is wrong: freezes the account, stops a recovery, or removes it from this device. */

import type { AccountView, Whose } from "@countersign/device";
import { announce, busy, button, fill, h } from "../dom.js";
import { clearProblem, problemPlace, showProblem } from "../problem.js";
import type { Session } from "../session.js";

/** Takes the account as it was seen, or only whose it is where it could not be seen. */
export function guard(session: Session, seen: Whose & Partial<Pick<AccountView, "state">>, again: () => void): HTMLElement {
  const place = h("div", { class: "guard-outcome", role: "status", testid: "guard-outcome" });
  const problem = problemPlace();
  const cancel = button("Stop a recovery", { class: "secondary", testid: "cancel-recovery" }, () => {
    void busy(cancel, async () => {
      clearProblem(problem);
      fill(place);
      try {
        await (await session.deviceOf(seen)).cancelRecovery(seen);
        fill(place, h("p", {}, "The recovery was stopped."));
      } catch (error) {
        showProblem(problem, error);
      }
    });
  });
  const freeze = confirmed({
    testid: "freeze",
    open: "Freeze this account…",
    title: "Freeze this account?",
    text: "From then on it signs nothing and takes no code, not even yours. Only the people who run the HSM can lift it.",
    action: "Freeze it now",
    act: async () => {
      await (await session.deviceOf(seen)).freeze(seen);
      announce("The account is frozen.");
      again();
    },
  });
  const remove = confirmed({
    testid: "remove",
    open: "Remove from this device…",
    title: "Remove this account from this device?",
    text: "This device forgets its keys and what was approved here, receipts too, and cannot approve for this account any more. The account itself stays as it is. This cannot be undone.",
    action: "Remove it",
    act: async () => {
      await session.store.remove(seen.tenant, seen.account);
      location.hash = "";
    },
  });
  return h(
    "div",
    { class: "card guard", testid: "guard" },
    h("h2", {}, "If something is wrong"),
    seen.state === "frozen" ? h("p", {}, "This account is frozen. Ask your service to lift it.") : freeze,
    h("p", { class: "hint" }, "Did somebody ask to recover this account who is not you?"),
    cancel,
    place,
    problem,
    remove,
  );
}

interface Confirmed {
  readonly testid: string;
  readonly open: string;
  readonly title: string;
  readonly text: string;
  readonly action: string;
  readonly act: () => Promise<void>;
}

/** A button that asks once more before it does anything. */
function confirmed({ testid, open, title, text, action, act }: Confirmed): HTMLElement {
  const problem = problemPlace();
  const go = h("button", { type: "button", class: "danger", testid: `${testid}-confirm` }, action);
  const keep = h("button", { type: "button", class: "secondary", testid: `${testid}-keep`, autofocus: true }, "Leave it as it is");
  const dialog = h(
    "dialog",
    { "aria-labelledby": `${testid}-title`, testid: `${testid}-dialog` },
    h("h2", { id: `${testid}-title` }, title),
    h("p", {}, text),
    problem,
    h("div", { class: "row" }, go, keep),
  );
  keep.addEventListener("click", () => dialog.close());
  go.addEventListener("click", () => {
    void busy(go, async () => {
      clearProblem(problem);
      try {
        await act();
        dialog.close();
      } catch (error) {
        showProblem(problem, error);
      }
    });
  });
  const press = button(open, { class: "danger-quiet", testid }, () => dialog.showModal());
  return h("div", { class: "confirmed" }, press, dialog);
}
