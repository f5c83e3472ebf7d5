// What a backend does with viem around a signature that an HSM makes: it encodes what is to be signed, puts r and s
// into the transaction, and reads what came out.

import {
  getTypesForEIP712Domain,
  hashMessage,
  hashTypedData,
  keccak256,
  parseTransaction,
  recoverAddress,
  recoverMessageAddress,
  recoverTransactionAddress,
  recoverTypedDataAddress,
  serializeSignature,
  serializeTransaction,
  serializeTypedData,
  size,
  slice,
} from 'viem';
import { serve } from './lines.mjs';
import { messages, typedData } from './statements.mjs';
import { changed, fields, shown, transactions, unsafe } from './transactions.mjs';

// The parity of R's y coordinate, which PKCS#11 does not tell: the one with which `address` signed.
async function parity(hash, signature, address) {
  for (const yParity of [0, 1]) {
    const signer = await recoverAddress({ hash, signature: { ...signature, yParity } }).catch(() => null);
    if (signer === address) return yParity;
  }
  throw new Error(`neither parity is a signature of ${address}`);
}

const rAndS = (signature) => {
  if (size(signature) !== 64) throw new Error(`not r and s: ${signature}`);
  return { r: slice(signature, 0, 32), s: slice(signature, 32) };
};

async function read(raw) {
  const transaction = parseTransaction(raw);
  return {
    hash: keccak256(raw),
    signer: await recoverTransactionAddress({ serializedTransaction: raw }),
    fields: fields(transaction),
  };
}

// The bytes that are to be signed, for each transaction.
async function build() {
  return Object.entries(await transactions()).map(([name, transaction]) => ({
    name,
    unsigned: serializeTransaction(transaction),
    fields: fields(transaction),
    shown: shown(transaction),
  }));
}

// Puts r and s into a transaction that was built.
async function assemble({ name, signature, address }) {
  const transaction = (await transactions())[name];
  const split = rAndS(signature);
  const yParity = await parity(keccak256(serializeTransaction(transaction)), split, address);
  const raw = serializeTransaction(transaction, { ...split, yParity, v: BigInt(27 + yParity) });
  return { raw, y_parity: yParity, ...(await read(raw)) };
}

// Who signed, if one field of a signed transaction were another.
async function flip({ raw }) {
  const { r, s, v: _, yParity, ...transaction } = parseTransaction(raw);
  const signers = {};
  for (const [field, other] of changed(transaction)) {
    const hash = keccak256(serializeTransaction(other));
    signers[field] = await recoverAddress({ hash, signature: { r, s, yParity } }).catch(() => null);
  }
  return signers;
}

const withDomain = ({ domain, types, ...rest }) => ({
  domain,
  types: { EIP712Domain: getTypesForEIP712Domain({ domain }), ...types },
  ...rest,
});

// What `eth_signTypedData_v4` would be asked, as viem's wallets send it, and the messages of `personal_sign`.
async function statements({ address }) {
  const asked = typedData(address).map(({ name, shown: lines, ...definition }) => {
    const whole = withDomain(definition);
    return { name, shown: lines, json: serializeTypedData(whole), digest: hashTypedData(whole) };
  });
  const said = messages.map((raw) => ({ raw, shown: ['sign: message'], digest: hashMessage({ raw }) }));
  return { typed_data: asked, messages: said };
}

// Whom viem finds behind r and s of a statement, and behind the same of one that says something else.
async function signer({ name, raw, signature, address }) {
  const split = rAndS(signature);
  const definition = typedData(address).find((one) => one.name === name);
  const hash = definition ? hashTypedData(withDomain(definition)) : hashMessage({ raw });
  const yParity = await parity(hash, split, address);
  const whole = serializeSignature({ ...split, yParity });
  const [recover, other] = definition
    ? [recoverTypedDataAddress, definition.other]
    : [recoverMessageAddress, { message: { raw: `${raw}00` } }];
  const said = definition ? definition : { message: { raw } };
  return {
    signer: await recover({ ...said, signature: whole }),
    of_another: await recover({ ...said, ...other, signature: whole }).catch(() => null),
  };
}

await serve({ build, assemble, read: ({ raw }) => read(raw), flip, statements, signer, unsafe });
