/** Which HSM this page trusts, and what answers right now. */

import { fill, h } from "../dom.js";
import { problemPlace, showProblem } from "../problem.js";
import type { Session } from "../session.js";
import { grouped, hexOf } from "../words.js";
import { fact, frame, loading } from "./parts.js";
import { pinForm } from "./pin.js";

export async function settings(session: Session, again: () => void): Promise<HTMLElement> {
  const view = frame("settings", "Settings");
  const { pinned, config } = session;
  if (pinned === undefined) {
    view.append(pinForm(session, again));
    return view;
  }
  const built = config.rootFingerprint;
  const body = h("div", {}, loading("Asking the HSM who it is…"));
  void showIdentity(session, body);
  view.append(
    h(
      "div",
      { class: "card" },
      h("h2", {}, "The HSM that you trust"),
      h("p", { testid: "root-source" }, session.rootSource === "website" ? `Its fingerprint, ${session.rootSeen ? "named by this website and compared by you" : "named by this website and not compared yet"}.` : "Its fingerprint, entered by you. Compare it with the one that you were given."),
      h("p", { class: "hint" }, "New accounts are set up under it. An account that is already here stays with the HSM that it was set up with."),
      h("p", { class: "mono fingerprint", testid: "root-fingerprint", "data-fingerprint": pinned }, grouped(pinned)),
      built !== undefined && built !== pinned
        ? h("p", { class: "elsewhere", testid: "root-differs" }, "This website now names another fingerprint than the one that you keep. Ask your service why before you change anything.")
        : null,
    ),
    body,
    h("details", { class: "change-root" }, h("summary", { testid: "root-change" }, "Trust another HSM"), pinForm(session, again)),
  );
  return view;
}

async function showIdentity(session: Session, body: HTMLElement): Promise<void> {
  try {
    const identity = await session.device.identity();
    fill(
      body,
      h(
        "div",
        { class: "card", testid: "identity" },
        h("h2", {}, "What answers right now"),
        h("p", { class: "mine" }, "It proved that it is the HSM that you trust."),
        h(
          "dl",
          { class: "facts" },
          fact("HSM", grouped(hexOf(identity.hsm))),
          fact("Program", grouped(hexOf(identity.measurement))),
          fact("Clock", identity.clock === "manual" ? "for tests only" : "its own", "clock"),
        ),
      ),
    );
  } catch (error) {
    const problem = problemPlace();
    fill(body, problem);
    showProblem(problem, error);
  }
}
