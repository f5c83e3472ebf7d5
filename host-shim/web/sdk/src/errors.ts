/**
 * What can go wrong, typed by who is to blame: the HSM said no (`Refused`), something cannot be trusted (`NotTrusted`),
 * or nobody answered (`Unreachable`). Each has a stable word for programs and a sentence for a person as its message.
 */

import { notTrustedSentence, refusalSentence } from "./sentences.js";

/** The HSM refused. `reason` is one of its stable words (docs/cli.md, "Reasons"). */
export class Refused extends Error {
  override readonly name = "Refused";

  constructor(
    readonly reason: string,
    /** Seconds after which it makes sense to ask again, where the HSM knows. */
    readonly retryAfterSecs: number | null = null,
  ) {
    super(refusalSentence(reason));
  }
}

/** Why something that arrived is not taken: the words of the Rust client, and `missing-factor`. */
export type Distrust =
  | "malformed-statement"
  | "wrong-root"
  | "bad-signature"
  | "other-hsm"
  | "other-image"
  | "other-account"
  | "other-intent"
  | "stale-answer"
  | "unknown-factor"
  | "missing-factor"
  | "wrong-address"
  | "wrong-seal";

/** What arrived was checked and is not what it must be. Nothing of it was used. */
export class NotTrusted extends Error {
  override readonly name = "NotTrusted";

  constructor(
    readonly word: Distrust,
    /** What exactly did not fit, for a log. Not for a person. */
    readonly detail = "",
  ) {
    super(notTrustedSentence(word));
  }
}

/** Nobody answered, or not with an HSM's answer. Whether the request arrived is not known. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";

  constructor(
    readonly detail = "",
    /** Seconds after which it makes sense to ask again, where the relay says so. */
    readonly retryAfterSecs: number | null = null,
  ) {
    super("The service cannot be reached right now. Check your connection and try again.");
  }
}

/** What the device itself will not do, before anything is sent. */
export type Misuse =
  | "malformed-name"
  | "malformed-code"
  | "malformed-link"
  | "not-enrolled"
  | "already-enrolled"
  | "no-passkey"
  | "passkey-failed"
  | "passkey-unsupported"
  | "intent-not-open"
  | "intent-expired"
  | "approval-below-floor"
  | "image-changed";

/** The device declined to do something; nothing was sent. */
export class NotPossible extends Error {
  override readonly name = "NotPossible";

  constructor(
    readonly word: Misuse,
    readonly detail = "",
  ) {
    super(refusalSentence(word));
  }
}
