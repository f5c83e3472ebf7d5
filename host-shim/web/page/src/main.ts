/** The page: opens the session, shows the view that the address names, and moves the focus there. */

import { fill, h } from "./dom.js";
import { mayLeave } from "./leave.js";
import { parseLink, type Link } from "./link.js";
import { problemPlace, showProblem } from "./problem.js";
import { Session } from "./session.js";
import { account } from "./views/account.js";
import { approve } from "./views/approve.js";
import { enroll } from "./views/enroll.js";
import { home } from "./views/home.js";
import { frame } from "./views/parts.js";
import { pinForm } from "./views/pin.js";
import { settings } from "./views/settings.js";

let shownLast = 0;

async function viewOf(session: Session, again: () => void): Promise<HTMLElement> {
  const link = parseLink(location.hash);
  if (link.view === "settings") return settings(session, again);
  if (link.view === "unknown") return broken();
  if (session.pinned === undefined && (await needsRoot(session, link))) return frame("pin", "One thing first", pinForm(session, again));
  switch (link.view) {
    case "home":
      return home(session);
    case "account":
      return account(session, link);
    case "enroll":
      return enroll(session, link, link.id, again);
    case "approve":
      return approve(session, link, link.id);
  }
}

/** An account that is here has a root of its own, and where there is none there is nothing to ask. */
async function needsRoot(session: Session, link: Link): Promise<boolean> {
  if (link.view === "enroll") return true;
  if (link.view !== "account" && link.view !== "approve") return false;
  return (await session.store.get(link.tenant, link.account)) === undefined;
}

function broken(): HTMLElement {
  return frame(
    "unknown",
    "This link is not complete",
    h("p", { testid: "broken-link" }, "Check that you copied all of it, or ask for it again."),
    h("p", {}, h("a", { href: "#" }, "Your accounts")),
  );
}

async function show(session: Session, main: HTMLElement, focus: boolean): Promise<void> {
  const turn = ++shownLast;
  // Each view asks anew who answers: an HSM whose image was replaced has other keys.
  session.forgetIdentity();
  let view: HTMLElement;
  try {
    view = await viewOf(session, () => void show(session, main, true));
  } catch (error) {
    const problem = problemPlace();
    view = frame("problem", "This did not work", problem);
    showProblem(problem, error);
  }
  // Another address was opened meanwhile.
  if (turn !== shownLast) return;
  fill(main, view);
  const title = view.querySelector("h1");
  document.title = `${title?.textContent ?? ""} · Countersign`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === (location.hash === "" ? "#" : location.hash)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (focus) title?.focus();
  void testClock(session, turn);
}

/** A manual clock is shown as what it is. */
async function testClock(session: Session, turn: number): Promise<void> {
  const place = document.getElementById("test-clock");
  const link = parseLink(location.hash);
  const roots = new Set((await session.store.list()).map(({ rootFingerprint }) => rootFingerprint));
  // A first account has none yet: it is asked of the HSM that it would be set up in.
  if (session.pinned !== undefined && link.view !== "home") roots.add(session.pinned);
  const clocks = await Promise.all([...roots].map(async (root) => {
    try {
      return (await session.behind(root).identity()).clock;
    } catch {
      // The view says what is wrong.
      return "unknown";
    }
  }));
  if (place === null || turn !== shownLast) return;
  if (clocks.includes("manual")) place.hidden = false;
  else if (!clocks.includes("unknown")) place.hidden = true;
}

async function start(): Promise<void> {
  const main = document.querySelector("main");
  if (main === null) return;
  // Shown inside another page, nothing that is clicked here would be safe.
  if (window.top !== window.self) {
    fill(main, frame("framed", "Open this page by itself", h("p", {}, "It is shown inside another page, where it does nothing.")));
    return;
  }
  if (!globalThis.isSecureContext) {
    fill(main, frame("insecure", "This page needs HTTPS", h("p", {}, "Open it through https, or on localhost.")));
    return;
  }
  // The address behind the mark is the view's, so this link moves the focus and nothing else.
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  let session: Session;
  try {
    session = await Session.open();
  } catch (error) {
    console.error(error);
    fill(main, frame("no-store", "This browser keeps nothing", h("p", {}, "This page has to keep your keys, and this browser does not let it. Leave private browsing, or use another browser.")));
    return;
  }
  addEventListener("hashchange", (event) => {
    if (!mayLeave()) return history.replaceState(null, "", event.oldURL);
    void show(session, main, true);
  });
  await show(session, main, false);
}

void start();
