/** What goes wrong, and what a user is told then: in a browser of its own, whose first account it is. */

import assert from "node:assert/strict";
import { addAuthenticator } from "./story.mjs";

const tenant = "acme";

export async function trouble({ page, context, base, account, shot }) {
  const at = (id) => page.getByTestId(id);
  const open = async (hash) => {
    await page.goto(`${base}${hash}`);
    await page.reload();
  };
  const control = async (name, fields = {}) => {
    const response = await fetch(`${base}test/${name}`, { method: "POST", body: JSON.stringify({ tenant, account, ...fields }) });
    assert.ok(response.ok, `${name}: ${response.ok ? "" : await response.text()}`);
    return response.json();
  };
  const stageAndOpen = async (summary) => {
    const intent = await control("stage", { staged: { summary } });
    await open(`#approve/${tenant}/${account}/${intent}`);
    await at("document").waitFor();
    return intent;
  };
  const t = { page, at, open, control, stageAndOpen, shot, account };
  await addAuthenticator(context, page);
  await comparesTheRoot(t);
  await leavesTheSecret(t);
  await leavesBeforeTheSecret(t);
  await enrolsAgain(t);
  await looksAway(t);
  await isOverMeanwhile(t);
  await losesAnAnswer(t);
  await takesBack(t);
  await isRestarted(t);
  await countsItsOwn(t);
  await seesAnotherImage(t);
  await seesAWrongView(t);
  await hasOnlyAPasskey(t);
}

/** The root that the website names is compared before anything is set up under it. */
async function comparesTheRoot({ page, at, open, control, shot, account }) {
  await control("clock", { clock: "manual" });
  await open(`#enroll/${tenant}/${account}/${await control("invite")}`);
  await at("enroll-form").waitFor();
  await at("test-clock").waitFor();
  const named = await at("root-named").textContent();
  assert.match(named, /^([0-9a-f]{4} ){15}[0-9a-f]{4}$/);
  const { root_fingerprint: root } = await (await fetch(new URL("config.json", page.url()))).json();
  assert.equal(named.replaceAll(" ", ""), root);
  assert.match(await at("tenant").textContent(), /\(acme\)/, "the tenant's own name is always there");
  await at("enroll-start").click();
  assert.match(await at("root-unconfirmed").textContent(), /Compare the fingerprint first/);
  assert.equal(await at("qr").count(), 0);
  await shot("root-confirm");
}

async function leavesTheSecret({ page, at, control, shot }) {
  await at("root-confirm").check();
  await page.evaluate(() => {
    navigator.credentials.create = () => Promise.reject(new DOMException("cancelled", "NotAllowedError"));
  });
  await at("enroll-start").click();
  await at("without-passkey").waitFor();
  assert.ok(await at("with-passkey").isChecked(), "the choice stays the user's");
  await shot("without-passkey");
  await at("without-passkey").click();
  await at("qr").waitFor();
  assert.match(await at("check-clock").textContent(), /for tests/);
  assert.match(await at("check-root").textContent(), /this website named and you compared/);
  assert.match(await at("device-loss").textContent(), /loses this device for good/);
  assert.match(await at("storage").getAttribute("data-persistent"), /true|false/);
  await page.evaluate(() => {
    navigator.clipboard.writeText = () => Promise.reject(new DOMException("no", "NotAllowedError"));
  });
  await at("secret-type").click();
  await at("secret-copy").click();
  await at("copied").getByText("does not let the page copy").waitFor();
  await shot("first-secret");
  const here = page.url();
  page.once("dialog", (dialog) => void dialog.dismiss());
  await at("nav-home").click();
  await page.waitForFunction((url) => location.href === url, here);
  assert.equal(await at("qr").count(), 1, "the secret is still shown");
  page.once("dialog", (dialog) => void dialog.accept());
  await at("nav-home").click();
  await at("accounts").waitFor();
  await control("clock", { clock: "system" });
}

/** Carries out what is asked from now on, and holds the answers back until the gate is opened. */
async function holdAnswers(page) {
  let open;
  const gate = new Promise((resolve) => (open = resolve));
  await page.route("**/v1/hsm", async (route) => {
    const response = await route.fetch();
    await gate;
    await route.fulfill({ response });
  });
  return async () => {
    open();
    await page.waitForTimeout(300);
    await page.unroute("**/v1/hsm");
  };
}

/** A view that was left while it waited shows no secret, and holds nobody back. */
async function leavesBeforeTheSecret({ page, at, open, control, account }) {
  await open(`#enroll/${tenant}/${account}/${await control("invite")}`);
  await at("enroll-form").waitFor();
  await at("with-passkey").uncheck();
  const answer = await holdAnswers(page);
  await at("enroll-start").click();
  await at("nav-settings").click();
  await at("view-settings").waitFor();
  await answer();
  await at("identity").waitFor();
  assert.equal(await at("qr").count(), 0);
  assert.match(page.url(), /#settings$/);
}

/** An answer that comes after its view was left changes nothing in another. */
async function looksAway({ page, at, control, stageAndOpen }) {
  await control("next-step");
  await stageAndOpen("sign: message\ntext: looked away");
  await at("code").fill(await control("code"));
  const answer = await holdAnswers(page);
  await at("approve").click();
  await at("nav-settings").click();
  await at("view-settings").waitFor();
  await answer();
  assert.equal(await at("title").textContent(), "Settings");
  assert.match(await page.title(), /^Settings/);
}

/** What was sent in time and is answered late counts: the end of the time only keeps from asking again. */
async function isOverMeanwhile({ page, at, open, control, account }) {
  await control("next-step");
  const intent = await control("stage", { staged: { summary: "sign: message\ntext: just in time", expiresIn: 4 } });
  await open(`#approve/${tenant}/${account}/${intent}`);
  await at("code").fill(await control("code"));
  const answer = await holdAnswers(page);
  await at("approve").click();
  await at("expiry").getByText("over").waitFor();
  for (const each of ["approve", "approve-passkey", "decline"]) assert.ok(await at(each).isDisabled(), each);
  await page.waitForTimeout(1500);
  assert.equal(await at("decision").count(), 1);
  await answer();
  await at("outcome").waitFor();
  assert.equal(await at("title").textContent(), "Approved");
}

async function enrolsAgain({ at, open, control, shot, account }) {
  await open(`#enroll/${tenant}/${account}/${await control("invite")}`);
  await at("unfinished").waitFor();
  assert.equal(await at("root-check").count(), 0, "compared once");
  await shot("unfinished");
  await at("enroll-start").click();
  await at("qr").waitFor();
  await control("next-step");
  await at("confirm-first").fill(await control("code"));
  await control("next-step");
  await at("confirm-second").fill(await control("code"));
  await at("confirm-submit").click();
  await at("open-account").click();
  await at("history").waitFor();
}

/** The approval arrives and its answer does not: the intent itself tells. */
async function losesAnAnswer({ at, control, stageAndOpen, shot }) {
  await control("next-step");
  const intent = await stageAndOpen("sign: message\ntext: answered into the void");
  await control("lose", { act: "approve" });
  await at("code").fill(await control("code"));
  await at("approve").click();
  await at("take-back").waitFor();
  await control("sign", { intent });
  await at("receipt").waitFor();
  assert.equal(await at("elsewhere").count(), 0, "what was sent from here is known here");

  await control("next-step");
  await stageAndOpen("sign: message\ntext: all is void");
  await control("lose", { act: "", answers: 2 });
  await at("code").fill(await control("code"));
  await at("approve").click();
  await at("maybe-arrived").waitFor();
  await shot("maybe-arrived");
  await at("look-again").click();
  await at("take-back").waitFor();
}

async function takesBack({ at, control, stageAndOpen, shot }) {
  await control("next-step");
  const intent = await stageAndOpen("sign: message\ntext: take me back");
  await at("code").fill(await control("code"));
  await at("approve").click();
  await at("take-back").waitFor();
  // One lost answer does not end the waiting.
  await control("lose", { act: "view-intent" });
  await at("problem").waitFor();
  await at("problem").waitFor({ state: "detached" });
  await shot("take-back");
  await at("take-back").click();
  await at("declined").waitFor();
  await assert.rejects(control("sign", { intent }), /approval-missing/);
}

async function isRestarted({ at, control, stageAndOpen, shot }) {
  await control("next-step");
  await stageAndOpen("sign: message\ntext: forgotten");
  await at("code").fill(await control("code"));
  await at("approve").click();
  await at("take-back").waitFor();
  await control("restart");
  await at("restarted").waitFor();
  assert.match(await at("restarted").textContent(), /still stands until it expires/);
  await shot("restarted");
}

/** The same thing signed twice, approved here once. */
async function countsItsOwn({ at, open, control, stageAndOpen, account }) {
  const digests = "the same";
  const summary = "sign: message\ntext: twice";
  await control("next-step");
  const own = await stageAndOpen(summary);
  await control("same-digests", { intent: own, digests });
  await at("view-key").waitFor();
  await open(`#approve/${tenant}/${account}/${own}`);
  await at("code").fill(await control("code"));
  await at("approve").click();
  await at("take-back").waitFor();
  await control("sign", { intent: own });
  await at("receipt").waitFor();
  const other = await control("stage", { staged: { summary } });
  await control("same-digests", { intent: other, digests });
  await control("approve", { intent: other });
  await control("sign", { intent: other });
  await open(`#account/${tenant}/${account}`);
  await at("history").waitFor();
  const entries = await at("entry").evaluateAll((all) => all.slice(0, 2).map((entry) => entry.dataset.own));
  assert.deepEqual(entries, ["false", "true"], "one approval stands for one signature");
}

async function seesAnotherImage({ at, open, control, stageAndOpen, shot, account }) {
  await control("image");
  await stageAndOpen("sign: message\ntext: after the update");
  await at("image-changed").waitFor();
  assert.equal(await at("approve").count(), 0);
  await shot("image-changed");
  await open(`#account/${tenant}/${account}`);
  await at("image-changed").waitFor();
  await at("image-accept").click();
  await at("image-changed").waitFor({ state: "detached" });
  await stageAndOpen("sign: message\ntext: after it was accepted");
  await at("approve").waitFor();
  assert.equal(await at("image-changed").count(), 0, "asked once");
}

/** Where the account cannot be shown, it can still be removed and frozen. */
async function seesAWrongView({ at, open, control, shot, account }) {
  await control("forge");
  await open(`#account/${tenant}/${account}`);
  await at("problem").waitFor();
  await at("freeze").waitFor();
  await at("remove").waitFor();
  await shot("account-not-shown");
  await control("honest");
}

/** On a browser that knows nothing of the account, one of its passkeys is enough. */
async function hasOnlyAPasskey({ page, at, open, control, stageAndOpen, shot, account }) {
  await open(`#account/${tenant}/${account}`);
  await at("remove").click();
  await at("remove-confirm").click();
  await at("empty").waitFor();
  const kept = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const request = indexedDB.open("countersign");
        request.onsuccess = () => {
          const all = request.result.transaction("remembered").objectStore("remembered").count();
          all.onsuccess = () => resolve(all.result);
        };
      }),
  );
  assert.equal(kept, 0, "summaries and receipts go with the account");
  const intent = await stageAndOpen("sign: message\ntext: by passkey alone");
  assert.equal(await at("code").count(), 0);
  assert.equal(await at("decline").count(), 0);
  await at("passkey-only").waitFor();
  await shot("passkey-only");
  await at("approve-passkey").click();
  await at("outcome").waitFor();
  await control("sign", { intent });
  await at("receipt").waitFor();
}
