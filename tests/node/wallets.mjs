// Watch-only wallets out of the output descriptors that the HSM tells, with bip32 and bitcoinjs-lib.

import { BIP32Factory } from 'bip32';
import * as bitcoin from 'bitcoinjs-lib';
import * as ecc from 'tiny-secp256k1';
import { bytes } from './lines.mjs';

bitcoin.initEccLib(ecc);
const bip32 = BIP32Factory(ecc);

export const networks = { main: bitcoin.networks.bitcoin, regtest: bitcoin.networks.regtest };
const { p2pkh, p2sh, p2wpkh } = bitcoin.payments;
const scripts = {
  pkh: (given) => p2pkh(given),
  wpkh: (given) => p2wpkh(given),
  'sh(wpkh': ({ network, ...given }) => p2sh({ network, redeem: p2wpkh({ network, ...given }) }),
};

// A wallet account: BIP-380 with the key origin and the path of BIP-389, `wpkh([…/84h/1h/0h]tpub…/<0;1>/*)#…`.
export class Wallet {
  constructor(descriptor, network) {
    const form = /^(pkh|wpkh|sh\(wpkh)\(\[([0-9a-f]{8})((?:\/\d+h){3})\](\w+)\/<0;1>\/\*\)+#\w{8}$/;
    const [, script, fingerprint, origin, key] = form.exec(descriptor) ?? [];
    if (!key) throw new Error(`not a descriptor of a wallet account: ${descriptor}`);
    this.network = networks[network];
    this.script = script;
    this.masterFingerprint = bytes(`0x${fingerprint}`);
    this.origin = `m${origin.replaceAll('h', "'")}`;
    this.account = bip32.fromBase58(key, this.network);
  }

  // The key at chain and index: its address, and what inputs and outputs of it carry in a PSBT.
  at(chain, index) {
    const pubkey = this.account.derive(chain).derive(index).publicKey;
    const { masterFingerprint } = this;
    const derivation = { pubkey, masterFingerprint, path: `${this.origin}/${chain}/${index}` };
    return { ...ofKey(this.script, pubkey, this.network), keys: { bip32Derivation: [derivation] } };
  }
}

// The same of one key without a path.
export function ofKey(script, pubkey, network) {
  const payment = scripts[script]({ pubkey, network });
  const redeemScript = payment.redeem?.output;
  return {
    address: payment.address,
    output: payment.output,
    isSegwit: script !== 'pkh',
    scripts: redeemScript && { redeemScript },
  };
}

// m of n keys, in P2WSH or, nested, in P2SH-P2WSH.
export function multisig(m, pubkeys, network, nested) {
  const redeem = bitcoin.payments.p2ms({ m, pubkeys, network });
  const witness = bitcoin.payments.p2wsh({ redeem, network });
  const payment = nested ? p2sh({ redeem: witness, network }) : witness;
  const scripts = { witnessScript: redeem.output, ...(nested && { redeemScript: witness.output }) };
  return { address: payment.address, output: payment.output, isSegwit: true, scripts };
}

export const compressed = (point) => ecc.pointCompress(point, true);

// Other people, whose keys this side holds.
export function person(number) {
  const secret = new Uint8Array(32).fill(number);
  return { publicKey: ecc.pointFromScalar(secret, true), sign: (hash) => ecc.sign(hash, secret) };
}

// The last argument refuses a high S, as the network's nodes do (BIP-146, "LOW_S").
export const isSignature = (pubkey, hash, signature) => ecc.verify(hash, pubkey, signature, true);
