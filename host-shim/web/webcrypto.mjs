// Node.js 18 has WebCrypto, but not yet as a global as browsers do.
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto;
