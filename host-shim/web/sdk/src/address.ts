/** Addresses, worked out again from public keys, so that none is shown on anybody's word. */

import { secp256k1 } from "@noble/curves/secp256k1.js";
import { ripemd160 } from "@noble/hashes/legacy.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bech32, createBase58check } from "@scure/base";
import { HDKey } from "@scure/bip32";
import type { AccountKey, Network } from "./account-key.js";
import { concat, equal, toHex, utf8 } from "./bytes.js";
import { NotTrusted } from "./errors.js";

/** The checksummed address of an uncompressed public key (EIP-55). */
export function ethereumAddress(publicKey: Uint8Array): string {
  return checksummed(toHex(keccak_256(publicKey.subarray(1)).subarray(12)));
}

/** An address of 40 lowercase hex digits, with EIP-55's capitals. */
export function checksummed(lower: string): string {
  const hash = toHex(keccak_256(utf8(lower)));
  const mixed = [...lower].map((digit, i) => (parseInt(hash[i] ?? "0", 16) >= 8 ? digit.toUpperCase() : digit));
  return `0x${mixed.join("")}`;
}

/** The scripts that a Bitcoin key can have an address of. */
export type Script = "p2pkh" | "p2sh-p2wpkh" | "p2wpkh";

/** By the purpose of its path (BIP-44, BIP-49, BIP-84); a key without a path pays to P2WPKH. */
export function scriptOf(path: string): Script | undefined {
  if (path === "") return "p2wpkh";
  const purpose = /^m\/(44|49|84)[h']\/[01][h']\/\d+[h']$/.exec(path)?.[1];
  return purpose === "44" ? "p2pkh" : purpose === "49" ? "p2sh-p2wpkh" : purpose === "84" ? "p2wpkh" : undefined;
}

const base58check = createBase58check(sha256);
const hash160 = (bytes: Uint8Array): Uint8Array => ripemd160(sha256(bytes));
const HRP = { main: "bc", test: "tb", signet: "tb", regtest: "bcrt" } as const;

/** The address of a compressed public key (33 bytes). */
export function bitcoinAddress(compressed: Uint8Array, script: Script, network: Exclude<Network, "">): string {
  const main = network === "main";
  const hash = hash160(compressed);
  switch (script) {
    case "p2pkh":
      return base58check.encode(concat(new Uint8Array([main ? 0x00 : 0x6f]), hash));
    case "p2sh-p2wpkh":
      // BIP-141: the redeem script is version 0 and the key's hash.
      return base58check.encode(
        concat(new Uint8Array([main ? 0x05 : 0xc4]), hash160(concat(new Uint8Array([0x00, 0x14]), hash))),
      );
    case "p2wpkh":
      // BIP-173: witness version 0.
      return bech32.encode(HRP[network], [0, ...bech32.toWords(hash)]);
  }
}

/** Version bytes of extended keys (BIP-32); all test networks share one. */
const XPUB = { private: 0x0488ade4, public: 0x0488b21e };
const TPUB = { private: 0x04358394, public: 0x043587cf };

/** Throws `NotTrusted("wrong-address")` unless the key's address is what its public key or extended key gives. */
export function assertAddress(key: AccountKey): void {
  let own: string;
  try {
    own = addressOf(key);
  } catch (cause) {
    throw cause instanceof NotTrusted ? cause : new NotTrusted("wrong-address", `${key.key}: ${String(cause)}`);
  }
  // Where there is none to show, showing none is right; a wallet and an Ethereum key always have one.
  const mayBeEmpty = key.xpub === "" && !key.mechanisms.includes("ethereum");
  if (key.address !== own && !(key.address === "" && mayBeEmpty)) throw new NotTrusted("wrong-address", key.key);
}

function addressOf(key: AccountKey): string {
  const point = secp256k1.Point.fromBytes(key.publicKey);
  if (!key.mechanisms.includes("bitcoin")) {
    if (key.network !== "" || key.xpub !== "") throw new NotTrusted("wrong-address", "a network without bitcoin");
    return ethereumAddress(key.publicKey);
  }
  const script = scriptOf(key.path);
  if (key.network === "" || script === undefined) throw new NotTrusted("wrong-address", "no network or no script");
  if ((key.xpub === "") !== (key.path === "")) throw new NotTrusted("wrong-address", "a path without an extended key");
  const compressed = point.toBytes(true);
  return bitcoinAddress(key.xpub === "" ? compressed : firstChild(key.xpub, key.network, compressed), script, key.network);
}

/** The key at 0/0 below an extended key, which must belong to the account's own public key. */
function firstChild(xpub: string, network: Network, compressed: Uint8Array): Uint8Array {
  const account = HDKey.fromExtendedKey(xpub, network === "main" ? XPUB : TPUB);
  if (account.publicKey === null || !equal(account.publicKey, compressed)) throw new NotTrusted("wrong-address", "xpub");
  if (account.privateKey !== null || account.depth !== 3) throw new NotTrusted("wrong-address", "not an account's xpub");
  const child = account.deriveChild(0).deriveChild(0).publicKey;
  if (child === null) throw new NotTrusted("wrong-address", "no child");
  return child;
}
