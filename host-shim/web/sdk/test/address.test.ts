import assert from "node:assert/strict";
import { test } from "node:test";
import { secp256k1 } from "@noble/curves/secp256k1.js";
import { HDKey } from "@scure/bip32";
import type { AccountKey } from "../src/account-key.js";
import { assertAddress, bitcoinAddress, checksummed, ethereumAddress, scriptOf } from "../src/address.js";
import { fromHex } from "../src/bytes.js";
import { NotTrusted } from "../src/errors.js";

/** BIP-84 and BIP-49 write their extended keys with version bytes of their own (SLIP-132); the HSM writes BIP-32's. */
const ZPRV = { private: 0x04b2430c, public: 0x04b24746 };
const UPUB = { private: 0x044a4e28, public: 0x044a5262 };
const XPUB = { private: 0x0488ade4, public: 0x0488b21e };
const TPUB = { private: 0x04358394, public: 0x043587cf };

/** BIP-84, "Test vectors": account 0 and its first receiving address. */
const BIP_84 = {
  xpriv:
    "zprvAdG4iTXWBoARxkkzNpNh8r6Qag3irQB8PzEMkAFeTRXxHpbF9z4QgEvBRmfvqWvGp42t42nvgGpNgYSJA9iefm1yYNZKEm7z6qUWCroSQnE",
  pubkey: "0330d54fd0dd420a6e5f8d3624f5f3482cae350f79d5f0753bf5beef9c2d91af3c",
  address: "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
};

/** BIP-49, "Test vectors", on testnet. */
const BIP_49 = {
  xpub:
    "upub5EFU65HtV5TeiSHmZZm7FUffBGy8UKeqp7vw43jYbvZPpoVsgU93oac7Wk3u6moKegAEWtGNF8DehrnHtv21XXEMYRUocHqguyjknFHYfgY",
  pubkey: "03a1af804ac108a8a51782198c2d034b28bf90c8803f5a53f76276fa69a4eae77f",
  address: "2Mww8dCYPUpKHofjgcXcBCEGmniw9CoaiD2",
};

function walletKey(account: HDKey, versions: typeof XPUB, fields: Partial<AccountKey>): AccountKey {
  const { depth, index, parentFingerprint, chainCode, publicKey } = account;
  assert.ok(publicKey !== null && chainCode !== null);
  const point = secp256k1.Point.fromBytes(publicKey).toBytes(false);
  return {
    key: "alice/btc",
    keyId: new Uint8Array(16),
    publicKey: new Uint8Array(point),
    mechanisms: ["bitcoin"],
    floor: "code",
    network: "main",
    path: "m/84h/0h/0h",
    address: BIP_84.address,
    xpub: new HDKey({ versions, depth, index, parentFingerprint, chainCode, publicKey }).publicExtendedKey,
    ...fields,
  };
}

const bip84 = (fields: Partial<AccountKey> = {}): AccountKey =>
  walletKey(HDKey.fromExtendedKey(BIP_84.xpriv, ZPRV), XPUB, fields);

const wrong = (key: AccountKey): void => {
  assert.throws(() => assertAddress(key), (error) => error instanceof NotTrusted && error.word === "wrong-address");
};

test("BIP-84's first receiving address comes from its account's extended key", () => {
  assert.equal(bitcoinAddress(fromHex(BIP_84.pubkey), "p2wpkh", "main"), BIP_84.address);
  assertAddress(bip84());
});

test("BIP-49's first receiving address comes from its account's extended key", () => {
  assert.equal(bitcoinAddress(fromHex(BIP_49.pubkey), "p2sh-p2wpkh", "test"), BIP_49.address);
  const account = HDKey.fromExtendedKey(BIP_49.xpub, UPUB);
  assertAddress(walletKey(account, TPUB, { network: "signet", path: "m/49h/1h/0h", address: BIP_49.address }));
});

test("refuses another address, network, path, key or extended key", () => {
  wrong(bip84({ address: BIP_49.address }));
  wrong(bip84({ address: "" }));
  wrong(bip84({ network: "test" }));
  wrong(bip84({ network: "" }));
  wrong(bip84({ path: "m/49h/0h/0h" }));
  wrong(bip84({ path: "m/86h/0h/0h" }));
  wrong(bip84({ path: "" }));
  wrong(bip84({ xpub: BIP_49.xpub }));
  wrong(bip84({ xpub: "xpub" }));
  wrong(bip84({ publicKey: secp256k1.getPublicKey(secp256k1.utils.randomSecretKey(), false) as never }));
  wrong(bip84({ mechanisms: ["digest"] }));
  wrong(bip84({ publicKey: fromHex("04" + "11".repeat(64)) }));
});

test("refuses an extended private key, and one of another depth", () => {
  const account = HDKey.fromExtendedKey(BIP_84.xpriv, ZPRV);
  const { depth, index, parentFingerprint, chainCode, privateKey } = account;
  assert.ok(privateKey !== null && chainCode !== null);
  wrong(bip84({ xpub: new HDKey({ versions: XPUB, depth, index, parentFingerprint, chainCode, privateKey }).privateExtendedKey }));
  assert.ok(account.publicKey !== null);
  const { publicKey } = account;
  const deeper = new HDKey({ versions: XPUB, depth: depth + 1, index, parentFingerprint, chainCode, publicKey });
  wrong(bip84({ xpub: deeper.publicExtendedKey }));
  assertAddress(bip84());
});

test("a Bitcoin key without a path pays to P2WPKH, or shows nothing", () => {
  const publicKey = fromHex("04" + "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8");
  // BIP-173, "Examples": the P2WPKH addresses of this key (SEC 2's generator point).
  const main = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4";
  const testnet = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx";
  const single = bip84({ path: "", xpub: "", publicKey, address: main });
  assertAddress(single);
  assertAddress({ ...single, network: "test", address: testnet });
  assertAddress({ ...single, address: "" });
  wrong({ ...single, address: testnet });
  wrong({ ...single, network: "regtest", address: testnet });
});

test("scripts go by the purpose of the path", () => {
  assert.deepEqual(
    ["", "m/44h/0h/0h", "m/49h/1h/7h", "m/84'/0'/0'", "m/84h/2h/0h", "m/86h/0h/0h", "m/84h/0h"].map(scriptOf),
    ["p2wpkh", "p2pkh", "p2sh-p2wpkh", "p2wpkh", undefined, undefined, undefined],
  );
});

test("EIP-55: the capitals are those of the standard's test cases", () => {
  for (const address of [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
  ]) {
    assert.equal(checksummed(address.slice(2).toLowerCase()), address);
  }
});

test("an Ethereum key shows exactly its own address, and a digest key that or none", () => {
  const publicKey = new Uint8Array(secp256k1.getPublicKey(secp256k1.utils.randomSecretKey(), false));
  const key = bip84({ mechanisms: ["ethereum"], network: "", path: "", xpub: "", publicKey, address: ethereumAddress(publicKey) });
  assertAddress(key);
  wrong({ ...key, address: key.address.toLowerCase() });
  wrong({ ...key, address: "" });
  assertAddress({ ...key, mechanisms: ["digest"] });
  assertAddress({ ...key, mechanisms: ["digest"], address: "" });
  wrong({ ...key, mechanisms: ["digest"], address: BIP_84.address });
  wrong({ ...key, network: "main" });
});
