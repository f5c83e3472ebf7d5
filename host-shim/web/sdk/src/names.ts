/** Names, as docs/approvals.md ("Notation") has them. */

import { NotPossible } from "./errors.js";

const TENANT = /^[a-z0-9._-]{1,64}$/;
const ACCOUNT = /^[a-z0-9._@-]{1,64}$/;

/** Throws `NotPossible("malformed-name")` where a name is none. */
export function assertNames(tenant: string, account: string): void {
  if (!TENANT.test(tenant)) throw new NotPossible("malformed-name", "tenant");
  if (!ACCOUNT.test(account)) throw new NotPossible("malformed-name", "account");
}

/** True if the text is `ACCOUNT/KEY` with this account. */
export function isKeyOf(account: string, key: string): boolean {
  return key.startsWith(`${account}/`) && TENANT.test(key.slice(account.length + 1));
}
