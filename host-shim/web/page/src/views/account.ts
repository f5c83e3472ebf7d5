/** One account: what waits, what was signed, its keys, and the acts on it. */

import type { AccountView, Whose } from "@countersign/device";
import { codePair } from "../code-pair.js";
import { eachSecond, fill, h } from "../dom.js";
import { problemPlace, showProblem } from "../problem.js";
import { HsmClock, type Session } from "../session.js";
import { duration } from "../words.js";
import { guard } from "./guard.js";
import { history } from "./history.js";
import { badge, waitingList } from "./home.js";
import { imageCard } from "./image.js";
import { frame, keyCard, loading, storageNote, whoseLine } from "./parts.js";

export async function account(session: Session, whose: Whose): Promise<HTMLElement> {
  const body = h("div", { class: "account-body" }, loading("Asking the HSM…"));
  void show(session, whose, body);
  return frame("account", "Account", whoseLine(session, whose), body);
}

async function show(session: Session, whose: Whose, body: HTMLElement): Promise<void> {
  const again = (): void => void show(session, whose, body);
  try {
    const device = await session.deviceOf(whose);
    const [seen, enrolment] = [await device.account(whose), await session.store.get(whose.tenant, whose.account)];
    if (enrolment === undefined) return;
    const clock = HsmClock.of(seen);
    // Nor is a code asked for, as long as the image was not accepted.
    const image = await imageCard(session, whose, again);
    const open = seen.state !== "frozen" && seen.intents.some(({ state }) => state === "open");
    const pair = { totp: enrolment.totp, clock };
    fill(
      body,
      badge(seen),
      image,
      seen.state === "open" && image === null
        ? card(
            "Finish the setup",
            "Type two codes in a row from your authenticator app.",
            codePair({ ...pair, testid: "confirm", action: "Finish", submit: (a, b) => device.confirm(whose, a, b).then(again) }),
          )
        : null,
      seen.lockedForSecs > 0 && image === null ? locked(seen, session, pair, again) : null,
      open ? h("div", { class: "card" }, waitingList(session, seen, "h2")) : null,
      await history(session, seen),
      h("div", { class: "card" }, h("h2", {}, "Keys"), await storageNote(session), ...seen.keys.map(keyCard)),
      guard(session, seen, again),
    );
  } catch (error) {
    const problem = problemPlace();
    // Whatever cannot be shown, the account can still be frozen, and removed from here.
    const known = await session.store.get(whose.tenant, whose.account);
    fill(body, problem, known === undefined ? null : guard(session, whose, again));
    showProblem(problem, error);
  }
}

function card(title: string, text: string, ...children: readonly Node[]): HTMLElement {
  return h("div", { class: "card" }, h("h2", {}, title), h("p", {}, text), ...children);
}

function locked(
  seen: AccountView,
  session: Session,
  pair: { totp: Parameters<typeof codePair>[0]["totp"]; clock: HsmClock },
  again: () => void,
): HTMLElement {
  const left = h("p", { role: "timer", testid: "locked-for" });
  const until = seen.now + seen.lockedForSecs;
  eachSecond(left, () => {
    const secs = until - pair.clock.now();
    left.textContent = secs > 0 ? `It opens by itself in ${duration(secs)}.` : "It is open again. Reload this page.";
  });
  const submit = async (first: string, second: string): Promise<void> => {
    await (await session.deviceOf(seen)).unlock(seen, first, second);
    again();
  };
  return h(
    "div",
    { class: "card", testid: "unlock" },
    h("h2", {}, "Locked"),
    h("p", {}, "Too many wrong codes were tried. If it was not you, somebody else is trying: tell your service."),
    left,
    h("p", {}, "Two codes in a row open it at once."),
    codePair({ ...pair, testid: "unlock", action: "Unlock", submit }),
  );
}
