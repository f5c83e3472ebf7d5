/** Shows what went wrong: a plain sentence, the stable word, and when to try again. */

import { NotPossible, NotTrusted, Refused, Unreachable } from "@countersign/device";
import { announce, eachSecond, fill, h } from "./dom.js";
import { duration } from "./words.js";

export interface Problem {
  readonly word: string;
  readonly sentence: string;
  readonly grave: boolean;
  readonly retryAfterSecs: number | null;
}

export function problemOf(error: unknown): Problem {
  if (error instanceof Refused) {
    return { word: error.reason, sentence: error.message, grave: false, retryAfterSecs: error.retryAfterSecs };
  }
  if (error instanceof NotTrusted) return { word: error.word, sentence: error.message, grave: true, retryAfterSecs: null };
  if (error instanceof NotPossible) return { word: error.word, sentence: error.message, grave: false, retryAfterSecs: null };
  if (error instanceof Unreachable) {
    return { word: "unreachable", sentence: error.message, grave: false, retryAfterSecs: error.retryAfterSecs };
  }
  const sentence = "Something went wrong in this page. Reload it and try again. Nothing was approved that you did not approve.";
  return { word: "page-error", sentence, grave: false, retryAfterSecs: null };
}

/** Where a view tells what went wrong. It is there from the beginning, so that screen readers notice when it fills. */
export function problemPlace(): HTMLElement {
  return h("div", { role: "alert", class: "problem-place" });
}

export function showProblem(place: Element, error: unknown, ...more: readonly Node[]): Problem {
  const problem = problemOf(error);
  if (problem.word === "page-error") console.error(error);
  const retry = h("p", { class: "retry", role: "timer", testid: "retry-after" });
  const box = h(
    "div",
    { class: problem.grave ? "problem grave" : "problem", testid: "problem", "data-word": problem.word },
    problem.grave ? h("p", { class: "problem-title" }, "This cannot be trusted") : null,
    h("p", { class: "problem-sentence", testid: "problem-sentence" }, problem.sentence),
    problem.retryAfterSecs === null ? null : retry,
    ...more,
    h("p", { class: "problem-word" }, "Word for support: ", h("code", {}, problem.word)),
  );
  fill(place, box);
  if (problem.retryAfterSecs !== null) countdown(retry, problem.retryAfterSecs);
  return problem;
}

export function clearProblem(place: Element): void {
  fill(place);
}

function countdown(place: HTMLElement, secs: number): void {
  const end = performance.now() + secs * 1000;
  let told = false;
  eachSecond(place, () => {
    const left = (end - performance.now()) / 1000;
    place.textContent = left > 0 ? `You can try again in ${duration(left)}.` : "You can try again now.";
    if (left <= 0 && !told) announce("You can try again now.");
    told ||= left <= 0;
  });
}
