/**
 * The user's device of Countersign, without a user interface: `Device` over a `Transport` and a `KeyStore`.
 * docs/approvals.md is the contract that this package follows.
 */

export { Device, type DeviceOptions } from "./device.js";
export { RelayTransport, type Transport } from "./transport.js";
export { MemoryKeyStore, type DeviceKeys, type Enrolment, type KeyStore, type KnownPasskey, type TotpParameters } from "./keys.js";
export { NotPossible, NotTrusted, Refused, Unreachable, type Distrust, type Misuse } from "./errors.js";
export type { Opened } from "./enrol.js";
export type { EnrolmentReceipt, Invitation } from "./enrolment.js";
export { contextPin, type Evidence } from "./evidence.js";
export type { AccountKey, Network, ShownKey } from "./account-key.js";
export type { AccountView, Entry, OpenIntent } from "./account.js";
export { fingerprint, type Identity, type Whose } from "./identity.js";
export { summaryLines, type Floor, type IntentState, type SummaryLine, type View } from "./view.js";
export { verifyReceipt, type Receipt, type ReceiptFile } from "./receipt.js";
export { isCode, secsToNextCode, type Otpauth } from "./otpauth.js";
export {
  browserAsker,
  browserRegistrar,
  passkeysSupported,
  type PasskeyAsker,
  type PasskeyAssertion,
  type PasskeyRegistrar,
  type PasskeyRegistration,
} from "./passkey.js";
export { fromHex, toHex, type Bytes } from "./bytes.js";
