/** The field for a one-time code, and the line that counts down to the next one. */

import { secsToNextCode, type TotpParameters } from "@countersign/device";
import { announce, eachSecond, h } from "./dom.js";
import type { HsmClock } from "./session.js";

export interface CodeField {
  readonly element: HTMLElement;
  readonly input: HTMLInputElement;
  /** Says under the field what is wrong with it. */
  complain(text: string): void;
}

let count = 0;

export function codeField(label: string, testid: string, totp: TotpParameters): CodeField {
  const id = `code-${++count}`;
  const hint = h("p", { class: "hint", id: `${id}-hint` }, `${totp.digits} digits from your authenticator app`);
  const wrong = h("p", { class: "field-problem", id: `${id}-wrong`, role: "alert", testid: `${testid}-problem` });
  const input = h("input", {
    id,
    class: "code",
    testid,
    type: "text",
    inputmode: "numeric",
    autocomplete: "one-time-code",
    autocapitalize: "off",
    autocorrect: "off",
    spellcheck: "false",
    size: String(totp.digits),
    "aria-describedby": `${id}-hint ${id}-wrong`,
    required: true,
  });
  input.addEventListener("input", () => {
    // Authenticators show and copy codes with a space. It is taken out where everybody can see it.
    const stripped = input.value.replace(/\s/g, "");
    if (stripped !== input.value) input.value = stripped;
    complain("");
  });
  const complain = (text: string): void => {
    wrong.textContent = text;
    if (text === "") input.removeAttribute("aria-invalid");
    else input.setAttribute("aria-invalid", "true");
  };
  return { element: h("div", { class: "field" }, h("label", { for: id }, label), input, hint, wrong), input, complain };
}

/** "Next code in 12 s", and a word when it is there. */
export function nextCode(clock: HsmClock, totp: TotpParameters, testid: string): HTMLElement {
  const from = Math.floor(clock.now() / totp.periodSecs);
  const line = h("p", { class: "next-code", role: "timer", testid });
  let told = false;
  eachSecond(line, () => {
    const now = clock.now();
    const changed = Math.floor(now / totp.periodSecs) > from;
    line.classList.toggle("there", changed);
    line.textContent = changed ? "The next code is there now." : `Next code in ${secsToNextCode(now, totp.periodSecs)} s`;
    if (changed && !told) announce("The next code is there now.");
    told ||= changed;
  });
  return line;
}
