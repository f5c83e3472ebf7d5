// What a wallet does with bitcoinjs-lib around signatures that an HSM makes: it derives addresses, builds PSBTs, checks
// the signatures that came back, lets others add theirs, finalises, and extracts the transaction.

import { Psbt, Transaction, script } from 'bitcoinjs-lib';
import { bytes, hex, serve } from './lines.mjs';
import { cosign, lie, stories, unsafe } from './psbts.mjs';
import { Wallet, isSignature, networks } from './wallets.mjs';

const network = networks.regtest;
const parse = (text) => Psbt.fromBase64(text, { network });
const unsignedBytes = (psbt) => Buffer.from(psbt.data.getTransaction()).toString('hex');

function addresses({ descriptor, network: name, count }) {
  const wallet = new Wallet(descriptor, name);
  return [0, 1].map((chain) => Array.from({ length: count }, (_, index) => wallet.at(chain, index).address));
}

// The same PSBT with something else in it, signatures and all.
function altered(psbt, change) {
  const unsigned = { lockTime: psbt.locktime, version: psbt.version };
  unsigned.inputs = psbt.txInputs.map((input, at) => {
    const { partialSig: _, ...fields } = psbt.data.inputs[at];
    return { ...input, ...fields };
  });
  unsigned.outputs = psbt.txOutputs.map(({ script: output, value }) => ({ script: output, value }));
  change(unsigned);
  const made = new Psbt({ network }).setVersion(unsigned.version).setLocktime(unsigned.lockTime);
  made.addInputs(unsigned.inputs).addOutputs(unsigned.outputs);
  psbt.data.inputs.forEach(({ partialSig }, at) => {
    if (partialSig) made.updateInput(at, { partialSig });
  });
  return made;
}

const changes = {
  nothing: () => {},
  'an amount paid': ({ outputs }) => {
    outputs[0].value -= 1n;
  },
  'a payee': ({ outputs }) => {
    outputs[0].script = outputs[0].script.map((byte, at, all) => byte ^ (at === all.length - 1));
  },
  'one output more': ({ outputs }) => {
    outputs.push({ ...outputs[0], value: 1_000n });
  },
  'one output less': ({ outputs }) => {
    outputs.pop();
  },
  'a sequence': ({ inputs }) => {
    inputs[0].sequence -= 1;
  },
  'the lock time': (unsigned) => {
    unsigned.lockTime += 1;
  },
  'the version': (unsigned) => {
    unsigned.version += 1;
  },
  // Another transaction that brought the same coin.
  'an outpoint': ({ inputs: [first] }) => {
    if (!first.nonWitnessUtxo) {
      first.index += 1;
      return;
    }
    const previous = Transaction.fromBuffer(first.nonWitnessUtxo);
    previous.locktime += 1;
    Object.assign(first, { hash: previous.getHash(), nonWitnessUtxo: previous.toBuffer() });
  },
};

// Which of our inputs still have a valid signature after each change.
function flip({ signed, ours }) {
  const psbt = parse(signed);
  return Object.entries(changes).map(([what, change]) => {
    const other = altered(psbt, change);
    return {
      what,
      valid: ours.map(([at, pubkey]) => other.validateSignaturesOfInput(at, isSignature, bytes(pubkey))),
    };
  });
}

// Whether the signature holds for an input's amount, and for another one.
function amounts({ signed, amounts: told }) {
  return told.map((sat) => {
    const psbt = altered(parse(signed), ({ inputs }) => {
      inputs[0].witnessUtxo = { ...inputs[0].witnessUtxo, value: BigInt(sat) };
    });
    return psbt.validateSignaturesOfInput(0, isSignature);
  });
}

// Checks every signature, adds the cosigner's, and makes a transaction of it. `ours` are the signatures that were not
// there before: input, key and sighash type of each.
function finish({ unsigned, signed }) {
  const [before, psbt] = [parse(unsigned), parse(signed)];
  if (unsignedBytes(before) !== unsignedBytes(psbt)) throw new Error('another transaction came back');
  const ours = psbt.data.inputs.flatMap(({ partialSig }, at) => {
    if (!psbt.validateSignaturesOfInput(at, isSignature))
      throw new Error(`an invalid signature at input ${at}`);
    const earlier = (before.data.inputs[at].partialSig ?? []).map(({ signature }) => hex(signature));
    return partialSig
      .filter(({ signature }) => !earlier.includes(hex(signature)))
      .map(({ pubkey, signature }) => [at, pubkey, script.signature.decode(signature).hashType]);
  });
  cosign(psbt);
  psbt.finalizeAllInputs();
  const transaction = psbt.extractTransaction();
  return { ours, fee: Number(psbt.getFee()), txid: transaction.getId(), transaction: `0x${transaction.toHex()}` };
}

await serve({ addresses, stories, lie, unsafe, flip, amounts, finish });
