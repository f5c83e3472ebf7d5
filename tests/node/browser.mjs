// The user's page in Debian's Chromium, driven step by step: what a person would do, and what a person would see.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';
import { serve } from './lines.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';

let browser;
let page;
/// What the page complained of, and what it asked of anybody but its own origin.
const complaints = [];

function watch(origin) {
  page.on('console', (message) => {
    // The contract takes ES256 alone; Chromium would rather see RS256 as well.
    if (message.text().startsWith('publicKey.pubKeyCredParams is missing')) return;
    if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol !== 'blob:' && url.origin !== origin) complaints.push(`asks ${request.url()}`);
  });
}

/// A passkey authenticator of Chromium's own, whose user is always there.
async function addAuthenticator(context) {
  const client = await context.newCDPSession(page);
  await client.send('WebAuthn.enable');
  await client.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
}

const at = (id) => page.getByTestId(id).first();

await serve({
  async start({ url, width, height, dark }) {
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
    const colorScheme = dark ? 'dark' : 'light';
    const viewport = { width, height };
    const context = await browser.newContext({ viewport, colorScheme, reducedMotion: 'reduce' });
    page = await context.newPage();
    page.setDefaultTimeout(60_000);
    watch(new URL(url).origin);
    await addAuthenticator(context);
    return browser.version();
  },

  async open({ url }) {
    await page.goto(url);
    await page.reload();
  },

  async click({ id }) {
    await at(id).click();
  },

  async fill({ id, text }) {
    await at(id).fill(text);
  },

  async uncheck({ id }) {
    await at(id).uncheck();
  },

  /// Waits until it is there, and gives its text.
  async see({ id }) {
    await at(id).waitFor();
    return at(id).textContent();
  },

  /// Its text, seen or not.
  async text({ id }) {
    await at(id).waitFor({ state: 'attached' });
    return at(id).textContent();
  },

  /// Waits until it is gone.
  async miss({ id }) {
    await at(id).waitFor({ state: 'detached' });
  },

  /// Waits until its text holds `text`.
  async read({ id, text }) {
    await page.getByTestId(id).filter({ hasText: text }).first().waitFor();
  },

  async attribute({ id, name }) {
    await at(id).waitFor({ state: 'attached' });
    return at(id).getAttribute(name);
  },

  async attributes({ id, name }) {
    await at(id).waitFor();
    return page.getByTestId(id).evaluateAll((all, name) => all.map((one) => one.getAttribute(name)), name);
  },

  async count({ id }) {
    return page.getByTestId(id).count();
  },

  /// What axe finds, and whether the page scrolls sideways; a picture beside, where a folder is given.
  async inspect({ name, folder }) {
    if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    const sideways = await page.evaluate(
      () => document.documentElement.scrollWidth > document.documentElement.clientWidth,
    );
    const found = violations.map(({ id, help }) => `${id}: ${help}`);
    return sideways ? [...found, 'scrolls sideways'] : found;
  },

  /// All that the browser keeps of the page, as text.
  async kept() {
    return page.evaluate(async () => {
      const told = [JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie];
      for (const { name } of await indexedDB.databases()) {
        const db = await new Promise((resolve, reject) => {
          const request = indexedDB.open(name);
          request.onsuccess = () => resolve(request.result);
          request.onerror = () => reject(request.error);
        });
        for (const store of db.objectStoreNames) {
          const all = db.transaction(store).objectStore(store).getAll();
          await new Promise((resolve) => (all.onsuccess = resolve));
          const plain = (key, value) => {
            if (value instanceof CryptoKey) return `${value.type}, extractable: ${value.extractable}`;
            if (value instanceof ArrayBuffer || ArrayBuffer.isView(value)) {
              const bytes = new Uint8Array(value.buffer ?? value);
              return String.fromCharCode(...bytes);
            }
            return value;
          };
          told.push(JSON.stringify(all.result, plain));
        }
        db.close();
      }
      return told.join('\n');
    });
  },

  async stop() {
    await browser.close();
    return complaints;
  },
}, () => browser?.close());
