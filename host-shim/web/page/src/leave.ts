/** Asks before something is left that cannot be shown again. */

const QUESTION = "Leave the setup? The secret is shown only now. If you did not scan it and type two codes, you need a new invitation.";

let held: Element | undefined;

const keepOpen = (event: BeforeUnloadEvent): void => {
  if (held?.isConnected === true) event.preventDefault();
  else release();
};

/** From now on leaving is asked about, for as long as this element is on the page. */
export function holdOpen(element: Element): void {
  held = element;
  addEventListener("beforeunload", keepOpen);
}

export function release(): void {
  held = undefined;
  removeEventListener("beforeunload", keepOpen);
}

/** True if nothing is held open, or its user says to leave it. */
export function mayLeave(): boolean {
  if (held?.isConnected === true && !confirm(QUESTION)) return false;
  release();
  return true;
}
