/** Asks once for the fingerprint of the HSM's root. Everything else rests on it. */

import { busy, h } from "../dom.js";
import { FINGERPRINT, type Session } from "../session.js";

export function pinForm(session: Session, done: () => void): HTMLElement {
  const wrong = h("p", { class: "field-problem", id: "root-wrong", role: "alert", testid: "root-problem" });
  const input = h("textarea", {
    id: "root",
    rows: "3",
    testid: "root-input",
    spellcheck: "false",
    autocapitalize: "off",
    autocomplete: "off",
    "aria-describedby": "root-hint root-wrong",
  });
  const save = h("button", { type: "submit", class: "primary", testid: "root-save" }, "Keep this fingerprint");
  const form = h(
    "form",
    { class: "card", novalidate: true, testid: "root-form" },
    h("h2", {}, "Who should this page trust?"),
    h(
      "p",
      {},
      "Your keys live in a signing machine, an HSM. It has a fingerprint of 64 letters and digits. ",
      "Take it from a letter, a contract or another place that is not this website, and enter it here once.",
    ),
    h("div", { class: "field" }, h("label", { for: "root" }, "Fingerprint"), input, h("p", { class: "hint", id: "root-hint" }, "Spaces and colons do not matter."), wrong),
    save,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const fingerprint = input.value.replace(/[\s:]/g, "").toLowerCase();
    if (!FINGERPRINT.test(fingerprint)) {
      wrong.textContent = "A fingerprint has 64 characters of 0-9 and a-f. Check that you copied all of it.";
      input.setAttribute("aria-invalid", "true");
      input.focus();
      return;
    }
    void busy(save, async () => {
      await session.pin(fingerprint);
      done();
    });
  });
  return form;
}
