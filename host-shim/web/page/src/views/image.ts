/** Tells that the HSM runs another image than the one that this account's user knows, and lets him accept it once. */

import type { Whose } from "@countersign/device";
import { busy, h } from "../dom.js";
import { problemPlace, showProblem } from "../problem.js";
import type { Session } from "../session.js";
import { grouped, hexOf } from "../words.js";
import { fact } from "./parts.js";

/** The card, where the image changed; else null. */
export async function imageCard(session: Session, whose: Whose, again: () => void): Promise<HTMLElement | null> {
  const device = await session.deviceOf(whose);
  const changed = await device.changedImage(whose);
  if (changed === null) return null;
  const problem = problemPlace();
  const accept = h("button", { type: "button", class: "secondary", testid: "image-accept" }, "Accept this program");
  accept.addEventListener("click", () => {
    void busy(accept, async () => {
      try {
        await device.acceptImage(whose, changed.now);
        again();
      } catch (error) {
        showProblem(problem, error);
      }
    });
  });
  return h(
    "div",
    { class: "card warnings image-changed", testid: "image-changed" },
    h("h2", {}, "The HSM runs another program than before"),
    h("p", {}, "It is still the HSM that you trust. But its program was replaced since you last used it, and a program can be changed. Ask your custodian, elsewhere than on this website, whether this update is theirs. Nothing is approved before you accept it."),
    h("dl", { class: "facts" }, fact("Before", grouped(hexOf(changed.known))), fact("Now", grouped(hexOf(changed.now)), "image-now")),
    problem,
    accept,
  );
}
