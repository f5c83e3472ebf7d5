/** Two codes in a row: the first, then the wait, then the next one. */

import { isCode, type TotpParameters } from "@countersign/device";
import { codeField, nextCode, type CodeField } from "./code-field.js";
import { busy, fill, h } from "./dom.js";
import { clearProblem, problemPlace, showProblem } from "./problem.js";
import type { HsmClock } from "./session.js";

export interface PairOptions {
  readonly totp: TotpParameters;
  readonly clock: HsmClock;
  /** Prefix of the test ids. */
  readonly testid: string;
  readonly action: string;
  readonly submit: (first: string, second: string) => Promise<void>;
}

export function codePair(options: PairOptions): HTMLFormElement {
  const { totp, testid } = options;
  const first = codeField("First code", `${testid}-first`, totp);
  const second = codeField("The code after it", `${testid}-second`, totp);
  const wait = h("div", { class: "wait" });
  const problem = problemPlace();
  const send = h("button", { type: "submit", class: "primary", testid: `${testid}-submit` }, options.action);
  const form = h("form", { class: "pair", novalidate: true, testid: `${testid}-form` }, first.element, wait, second.element, problem, send);
  for (const { input } of [first, second]) input.addEventListener("input", () => clearProblem(problem));
  first.input.addEventListener("input", () => {
    if (!isCode(first.input.value, totp)) return fill(wait);
    fill(wait, nextCode(options.clock, totp, `${testid}-next-code`));
    second.input.focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!complete(first, totp) || !complete(second, totp)) return;
    void busy(send, async () => {
      clearProblem(problem);
      try {
        await options.submit(first.input.value, second.input.value);
      } catch (error) {
        showProblem(problem, error);
        for (const { input } of [first, second]) input.value = "";
        fill(wait);
        first.input.focus();
      }
    });
  });
  return form;
}

/** Says what is wrong with a code that is none, and goes there. */
export function complete(field: CodeField, totp: TotpParameters): boolean {
  if (isCode(field.input.value, totp)) return true;
  field.complain(`Type all ${totp.digits} digits, and nothing else.`);
  field.input.focus();
  return false;
}
