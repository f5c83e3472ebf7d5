/** One user's story through every view of the page. */

import assert from "node:assert/strict";

const tenant = "acme";

const TRANSFER = [
  "warning: this account never paid this address before",
  "warning: the fee is higher than usual",
  "sign: transfer on Ethereum (eip155:1)",
  "to: 0x52908400098527886E0F7030069857D2E4169EE7",
  "amount: 1.5 ETH",
  "fee: at most 0.0042 ETH",
  "nonce: 17",
].join("\n");

export async function story({ page, context, base, account, shot }) {
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
  const code = (offset = 0) => control("code", { offset });
  const nextStep = () => control("next-step");
  const problem = async (word) => assert.equal(await at("problem").getAttribute("data-word"), word);
  const stageAndOpen = async (staged) => {
    const intent = await control("stage", { staged });
    await open(`#approve/${tenant}/${account}/${intent}`);
    await at("document").waitFor();
    return intent;
  };
  const t = { page, at, open, control, code, nextStep, problem, stageAndOpen, shot, account };
  await addAuthenticator(context, page);
  await beforeAnything(t);
  await enrols(t);
  await approves(t);
  await decides(t);
  await looksBack(t);
  await isWarned(t);
  await guards(t);
}

/** A passkey authenticator of Chromium's own, which says yes by itself. */
export async function addAuthenticator(context, page) {
  const client = await context.newCDPSession(page);
  await client.send("WebAuthn.enable");
  await client.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2",
      transport: "internal",
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
}

async function beforeAnything({ page, at, open, control, shot, account }) {
  await open("");
  await at("empty").waitFor();
  await shot("home-empty");
  await at("link-input").fill("https://elsewhere.example/nothing");
  await at("link-open").click();
  assert.match(await at("link-problem").textContent(), /not a link/);
  await open("#approve/acme/alice/12");
  await at("broken-link").waitFor();
  await shot("broken-link");

  const { root_fingerprint: root } = await (await fetch(new URL("config.json", page.url()))).json();
  await control("config", { root_fingerprint: null });
  const invitation = await control("invite");
  await open(`#enroll/${tenant}/${account}/${invitation}`);
  await at("root-form").waitFor();
  await at("root-input").fill("not a fingerprint");
  await at("root-save").click();
  await shot("root");
  await at("root-input").fill("00".repeat(32));
  await at("root-save").click();
  await at("enroll-form").waitFor();
  await at("with-passkey").uncheck();
  await at("enroll-start").click();
  await at("problem").waitFor();
  assert.equal(await at("problem").getAttribute("data-word"), "wrong-root");
  await shot("wrong-root");
  await open("#settings");
  await at("root-change").click();
  await at("root-input").fill(root.replace(/(.{8})/g, "$1 ").toUpperCase());
  await at("root-save").click();
  await at("identity").waitFor();
  await control("config", { root_fingerprint: root });
  await shot("settings");
}

async function enrols({ page, at, open, control, code, nextStep, problem, shot, account }) {
  const invitation = await control("invite");
  await open(`#enroll/${tenant}/${account}/${invitation}`);
  await at("enroll-form").waitFor();
  await shot("enroll");
  await at("enroll-start").click();
  await at("qr").waitFor();
  assert.equal(await at("key").count(), 1);
  const secret = await at("secret-uri").textContent();
  assert.equal(await page.locator("[data-uri]").count(), 0);
  assert.ok(!page.url().includes(invitation), "the invitation is spent and gone from the address");
  assert.match(secret, /^otpauth:\/\/totp\//);
  await shot("secret");

  await at("confirm-submit").click();
  assert.match(await at("confirm-first-problem").textContent(), /6 digits/);
  await at("confirm-first").fill("000000");
  await at("confirm-second").fill("000000");
  await at("confirm-submit").click();
  await at("problem").waitFor();
  await problem("wrong-code");
  await nextStep();
  const first = await code();
  // As authenticators copy it: with a space, which goes before everybody's eyes.
  await at("confirm-first").fill(`${first.slice(0, 3)} ${first.slice(3)}`);
  assert.equal(await at("confirm-first").inputValue(), first);
  await at("confirm-next-code").waitFor();
  await shot("confirm");
  await nextStep();
  await at("confirm-second").fill(await code());
  await at("confirm-submit").click();
  await at("enrolled").waitFor();
  await shot("enrolled");
  await at("open-account").click();
  await at("history").waitFor();
  assert.equal(await at("account-state").getAttribute("data-state"), "ready");
  const stored = await page.evaluate(keptInTheBrowser);
  assert.deepEqual(stored.extractable, [false, false]);
  const spelled = new URL(secret).searchParams.get("secret");
  assert.ok(!stored.all.includes(spelled), "the secret is kept nowhere");
  await open(`#enroll/${tenant}/${account}/${invitation}`);
  await at("already-enrolled").waitFor();
}

/** Runs in the page: what IndexedDB holds. */
function keptInTheBrowser() {
  return new Promise((resolve) => {
    const request = indexedDB.open("countersign");
    request.onsuccess = () => {
      const all = request.result.transaction("enrolments").objectStore("enrolments").getAll();
      all.onsuccess = () => {
        const { keys } = all.result[0];
        resolve({ extractable: [keys.signing.privateKey.extractable, keys.sealing.privateKey.extractable], all: JSON.stringify(all.result) });
      };
    };
  });
}

async function approves({ page, at, control, code, nextStep, problem, stageAndOpen, shot }) {
  await nextStep();
  const intent = await stageAndOpen({ summary: TRANSFER });
  assert.equal(await at("warning").count(), 2);
  assert.equal(await at("summary-line").count(), 5);
  await shot("approve");
  await at("approve").click();
  assert.match(await at("code-problem").textContent(), /6 digits/);
  await at("code").fill("123 45a");
  await at("approve").click();
  assert.match(await at("code-problem").textContent(), /nothing else/);
  await at("code").fill("000 000");
  await at("approve").click();
  await at("problem").waitFor();
  await problem("wrong-code");
  await at("next-code").waitFor();
  await shot("wrong-code");
  const used = await code();
  await at("code").fill(used);
  await at("approve").click();
  await at("outcome").waitFor();
  assert.equal(await at("title").textContent(), "Approved");
  await shot("approved");
  await control("sign", { intent });
  await at("receipt").waitFor();
  assert.match(await at("receipt-counter").textContent(), /^number 1 /);
  assert.equal(await at("title").textContent(), "Signed");
  const download = page.waitForEvent("download");
  await at("receipt-download").click();
  assert.match((await download).suggestedFilename(), /^receipt-.*-1\.json$/);
  await shot("receipt");

  await stageAndOpen({ summary: "sign: message\ntext: hello" });
  await at("code").fill(used);
  await at("approve").click();
  await at("problem").waitFor();
  await problem("code-used");
  assert.match(await at("next-code").textContent(), /^Next code in \d+ s$/);
  await shot("code-used");
}

async function decides({ page, at, control, problem, stageAndOpen, shot }) {
  const markup = '<img src=x onerror="document.title=1"><script>document.title=1</script>';
  const intent = await stageAndOpen({ summary: `warning: ${markup}\nsign: ${markup}\nnote: ${"long".repeat(60)}` });
  assert.equal(await page.locator("main img, main script").count(), 0, "a summary is text and never markup");
  await shot("markup");
  await at("approve-passkey").click();
  await at("outcome").waitFor();
  await control("sign", { intent });
  await at("receipt").waitFor();

  await stageAndOpen({ purpose: "payee", summary: "payee: 0x52908400098527886E0F7030069857D2E4169EE7" });
  await shot("payee");
  await at("approve-passkey").click();
  await at("payee-approved").waitFor();
  assert.equal(await at("title").textContent(), "Approved");

  await stageAndOpen({ summary: TRANSFER });
  await at("decline").click();
  await at("declined").waitFor();
  assert.equal(await at("title").textContent(), "Declined");
  await shot("declined");
  await stageAndOpen({ summary: TRANSFER, expiresIn: 2 });
  await at("expired").waitFor();
  await shot("expired");

  await stageAndOpen({ summary: TRANSFER });
  await control("refuse", { act: "approve", reason: "locked", retryAfterSecs: 300 });
  await at("code").fill("123456");
  await at("approve").click();
  await at("unlock-link").waitFor();
  await problem("locked");
  assert.match(await at("retry-after").textContent(), /5:00|4:5/);
  await shot("locked-refusal");
}

async function looksBack({ at, open, control, stageAndOpen, shot, account }) {
  const intent = await stageAndOpen({ summary: "sign: transfer on Ethereum (eip155:1)\namount: 250 ETH" });
  await control("approve", { intent });
  await control("sign", { intent });
  await open(`#approve/${tenant}/${account}/${intent}`);
  await at("outcome").waitFor();
  await at("elsewhere").waitFor();
  await open("");
  await at("waiting").waitFor();
  await shot("home");
  await at("account-link").click();
  await at("history").waitFor();
  const own = await at("entry").evaluateAll((entries) => entries.map((entry) => entry.dataset.own));
  assert.deepEqual(own, ["false", "true", "true"], "what was approved elsewhere is told apart");
  await at("receipt-show").first().click();
  await at("receipt").waitFor();
  await shot("account");
}

async function isWarned({ at, open, control, problem, shot, account }) {
  await control("clock", { clock: "manual" });
  await open(`#account/${tenant}/${account}`);
  await at("history").waitFor();
  await at("test-clock").waitFor();
  await shot("test-clock");
  await control("clock", { clock: "system" });
  await control("forge");
  await open(`#account/${tenant}/${account}`);
  await at("problem").waitFor();
  await problem("bad-signature");
  await shot("not-trusted");
  await control("honest");
}

async function guards({ at, open, control, code, nextStep, problem, shot, account }) {
  await control("lock", { secs: 300 });
  await open(`#account/${tenant}/${account}`);
  await at("unlock").waitFor();
  await shot("locked");
  await nextStep();
  await at("unlock-first").fill(await code());
  await nextStep();
  await at("unlock-second").fill(await code());
  await at("unlock-submit").click();
  await at("unlock").waitFor({ state: "detached" });
  await at("cancel-recovery").click();
  await at("problem").waitFor();
  await problem("no-recovery");
  await control("recovery");
  await at("cancel-recovery").click();
  await at("guard-outcome").getByText("stopped").waitFor();
  await at("freeze").click();
  await at("freeze-dialog").waitFor();
  await shot("freeze");
  await at("freeze-keep").click();
  await at("freeze").click();
  await at("freeze-confirm").click();
  await at("freeze").waitFor({ state: "detached" });
  assert.equal(await at("account-state").getAttribute("data-state"), "frozen");
  await shot("frozen");
  await at("remove").click();
  await at("remove-confirm").click();
  await at("empty").waitFor();
}
