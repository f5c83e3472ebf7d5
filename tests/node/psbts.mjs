// PSBTs as wallets in JavaScript make them.

import * as bitcoin from 'bitcoinjs-lib';
import { bytes } from './lines.mjs';
import { Wallet, compressed, multisig, networks, ofKey, person } from './wallets.mjs';

const network = networks.regtest;
const cosigners = [person(7), person(8)];
const stranger = bitcoin.payments.p2wpkh({ hash: new Uint8Array(20).fill(9), network }).address;
const COIN_SAT = 100_000;

// The transaction that brought a coin: confirmed, so with a witness, and with the coin beside somebody else's.
function previous(output, number, amountSat) {
  const transaction = new bitcoin.Transaction();
  transaction.version = 2;
  transaction.addInput(new Uint8Array(32).fill(number), 3, 0xfffffffd);
  transaction.setWitness(0, [new Uint8Array(71).fill(number), cosigners[0].publicKey]);
  transaction.addOutput(bitcoin.address.toOutputScript(stranger, network), 12_345n);
  transaction.addOutput(output, BigInt(amountSat));
  return transaction;
}

// An input that spends such a coin. `proofs`: the whole previous transaction, the output alone (its amount as told), or
// both.
function coin(of, number, { proofs = 'both', amountSat = COIN_SAT, toldSat = amountSat } = {}) {
  const transaction = previous(of.output, number, amountSat);
  const input = { hash: transaction.getId(), index: 1, sequence: 0xfffffffd, ...of.keys, ...of.scripts };
  if (proofs !== 'output' || !of.isSegwit) input.nonWitnessUtxo = transaction.toBuffer();
  if (proofs !== 'transaction' && of.isSegwit)
    input.witnessUtxo = { script: of.output, value: BigInt(toldSat) };
  return input;
}

const payment = (address, sat) => ({ address, value: BigInt(sat) });
const change = ({ address, keys, scripts }, sat) => ({ ...payment(address, sat), ...keys, ...scripts });

function psbt(inputs, outputs, lockTime = 0) {
  const made = new bitcoin.Psbt({ network }).setLocktime(lockTime);
  return made.addInputs(inputs).addOutputs(outputs);
}

const coins = (sat) => `${(Number(sat) / 1e8).toFixed(8).replace(/\.?0+$/, '')} test BTC`;

// A PSBT with the lines that the HSM must show of it. `key` is the one that signs; inputs beyond `ours` are not its own.
function story(name, key, fee, made, { ours = made.inputCount, isChange = (_output, at) => at > 0 } = {}) {
  const shown = made.txOutputs.flatMap(({ address, value }, at) => [
    `${isChange(address, at) ? 'change' : 'send'}: ${coins(value)}`,
    `  to: ${address}`,
  ]);
  shown.push(`fee: at most ${coins(fee)}`);
  return { name, key, psbt: made.toBase64(), fee, ours, shown };
}

function open({ pkh, wpkh, sh_wpkh: nested, single }) {
  const [legacy, segwit, wrapped] = [pkh, wpkh, nested].map(
    (descriptor) => new Wallet(descriptor, 'regtest'),
  );
  return { legacy, segwit, wrapped, pubkey: compressed(bytes(single)) };
}

// Every kind of input that the HSM signs, by the keys of one account.
export function stories(keys) {
  const { legacy, segwit, wrapped, pubkey } = open(keys);
  const one = (script) => ofKey(script, pubkey, network);
  const theirs = ofKey('wpkh', cosigners[0].publicKey, network);
  const twoOfThree = (nested) =>
    multisig(2, [cosigners[0].publicKey, pubkey, cosigners[1].publicKey], network, nested);
  const long = bitcoin.payments.p2wsh({ hash: new Uint8Array(32).fill(5), network }).address;
  const together = psbt(
    [coin(segwit.at(0, 2), 7), coin(theirs, 8)],
    [payment(stranger, 150_000), change(segwit.at(1, 9), 48_000)],
    800_000,
  );
  together.signInput(1, cosigners[0]);
  return [
    story(
      'P2PKH',
      'pkh',
      2_000,
      psbt(
        [coin(legacy.at(0, 0), 1), coin(legacy.at(1, 3), 2)],
        [payment(stranger, 150_000), change(legacy.at(1, 4), 48_000)],
      ),
    ),
    story(
      'P2WPKH',
      'wpkh',
      1_500,
      psbt(
        [
          coin(segwit.at(0, 0), 3),
          coin(segwit.at(0, 1), 4),
          coin(segwit.at(1, 7), 5, { proofs: 'transaction' }),
        ],
        [payment(long, 250_000), change(segwit.at(1, 8), 48_500)],
      ),
    ),
    story(
      'P2WPKH without the previous transaction',
      'wpkh',
      1_000,
      psbt(
        [coin(segwit.at(0, 5), 6, { proofs: 'output' })],
        [payment(stranger, 60_000), change(segwit.at(1, 0), 39_000)],
      ),
    ),
    story(
      'P2SH-P2WPKH',
      'sh_wpkh',
      2_000,
      psbt(
        [coin(wrapped.at(0, 0), 9), coin(wrapped.at(0, 2 ** 31 - 1), 10)],
        [payment(stranger, 150_000), change(wrapped.at(1, 1), 48_000)],
      ),
    ),
    story('P2WPKH beside the input of another, who signed first', 'wpkh', 2_000, together, { ours: 1 }),
    story(
      'P2WSH and P2SH-P2WSH, 2 of 3',
      'single',
      3_000,
      psbt(
        [coin(twoOfThree(false), 11), coin(twoOfThree(true), 12)],
        [payment(stranger, 100_000), change(one('wpkh'), 97_000)],
      ),
    ),
    story(
      'each script of one key',
      'single',
      2_500,
      psbt(
        [coin(one('pkh'), 13), coin(one('wpkh'), 14), coin(one('sh(wpkh'), 15)],
        [payment(stranger, 100_000), change(one('sh(wpkh'), 97_500), change(one('pkh'), 100_000)],
      ),
    ),
  ];
}

// Whose amount is told too low, by one who wants to make a fee of the rest. The fee that is shown is the told one.
export function lie(keys) {
  const told = coin(open(keys).segwit.at(0, 5), 6, { proofs: 'output', toldSat: 60_000 });
  return story('a false amount', 'wpkh', 1_000, psbt([told], [payment(stranger, 59_000)]));
}

// PSBTs that bitcoinjs-lib makes, and that nobody should sign: the reason of each.
export function unsafe(keys) {
  const { segwit } = open(keys);
  const outputs = [payment(stranger, 90_000)];
  const single = coin(segwit.at(0, 0), 1);
  const alone = (index, number) => coin(segwit.at(0, index), number, { proofs: 'output' });
  const all = {
    'amount-not-proven': psbt([alone(0, 1), alone(1, 2)], [payment(stranger, 190_000)]),
    'malformed-psbt': psbt([coin(segwit.at(0, 0), 1, { toldSat: 95_000 })], outputs),
    'fee-too-high': psbt([coin(segwit.at(0, 0), 1, { amountSat: 50_000_000 })], outputs),
    'nothing-to-sign': psbt([coin(ofKey('wpkh', cosigners[0].publicKey, network), 1)], outputs),
    'sighash-not-allowed': psbt([{ ...single, sighashType: bitcoin.Transaction.SIGHASH_NONE }], outputs),
  };
  return Object.entries(all).map(([reason, made]) => ({ reason, key: 'wpkh', psbt: made.toBase64() }));
}

// The second signature of 2 of 3, of one who looked at the first.
export function cosign(signed) {
  signed.data.inputs.forEach((input, at) => {
    if (input.witnessScript) signed.signInput(at, cosigners[1]);
  });
}
