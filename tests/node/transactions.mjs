// Ethereum transactions as a backend in JavaScript writes them, one of each type, and each with one field changed.

import {
  decodeFunctionData,
  encodeFunctionData,
  erc20Abi,
  formatEther,
  getAddress,
  numberToHex,
  parseEther,
  parseGwei,
  serializeTransaction,
} from 'viem';
import { privateKeyToAccount } from 'viem/accounts';

const PAYEE = '0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045';
const USDC = '0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48';
const fees = { gas: 90_000n, maxFeePerGas: parseGwei('30'), maxPriorityFeePerGas: parseGwei('1.5') };
const accessList = [
  { address: USDC, storageKeys: [numberToHex(0, { size: 32 }), numberToHex(2n ** 256n - 1n, { size: 32 })] },
  { address: PAYEE, storageKeys: [] },
];
const call = (functionName, ...args) => encodeFunctionData({ abi: erc20Abi, functionName, args });

// Whoever hands an account to code signs that himself; here it is another account than the sender's.
const authority = privateKeyToAccount(numberToHex(7, { size: 32 }));

export async function transactions() {
  const authorization = { chainId: 1, address: USDC, nonce: 5 };
  return {
    'legacy with EIP-155': {
      type: 'legacy',
      chainId: 1,
      nonce: 0,
      gas: 21_000n,
      gasPrice: parseGwei('20'),
      to: PAYEE,
      value: parseEther('1.5'),
    },
    'legacy on a chain with a great number': {
      type: 'legacy',
      chainId: 4_294_967_295,
      nonce: 128,
      gas: 21_000n,
      gasPrice: 1n,
      to: PAYEE,
      value: 1n,
    },
    'EIP-2930': {
      type: 'eip2930',
      chainId: 1,
      nonce: 1,
      gas: 60_000n,
      gasPrice: parseGwei('20'),
      to: PAYEE,
      value: 127n,
      accessList,
    },
    'EIP-1559': { type: 'eip1559', chainId: 1, nonce: 2 ** 32, ...fees, to: PAYEE, value: 2n ** 96n },
    'EIP-1559 with an access list, of nothing': {
      type: 'eip1559',
      chainId: 10,
      nonce: 55,
      ...fees,
      to: PAYEE,
      value: 0n,
      accessList,
    },
    'ERC-20 transfer': {
      type: 'eip1559',
      chainId: 1,
      nonce: 3,
      ...fees,
      to: USDC,
      value: 0n,
      data: call('transfer', PAYEE, 25_000_000n),
    },
    'ERC-20 approve': {
      type: 'eip1559',
      chainId: 1,
      nonce: 4,
      ...fees,
      to: USDC,
      value: 0n,
      data: call('approve', PAYEE, 2n ** 256n - 1n),
    },
    'call that nobody can read': {
      type: 'eip1559',
      chainId: 1,
      nonce: 5,
      ...fees,
      to: USDC,
      value: 7n,
      data: '0xdeadbeef00',
    },
    creation: { type: 'eip1559', chainId: 1, nonce: 6, ...fees, data: '0x6001600055' },
    'EIP-4844 without its blobs': {
      type: 'eip4844',
      chainId: 1,
      nonce: 7,
      ...fees,
      to: PAYEE,
      value: 0n,
      data: '0x01',
      maxFeePerBlobGas: parseGwei('3'),
      blobVersionedHashes: [1, 2].map((number) => `0x01${numberToHex(number, { size: 31 }).slice(2)}`),
    },
    'EIP-7702': {
      type: 'eip7702',
      chainId: 1,
      nonce: 8,
      ...fees,
      to: PAYEE,
      value: 3n,
      authorizationList: [{ ...authorization, ...(await authority.signAuthorization(authorization)) }],
    },
  };
}

// What is in a transaction, whether it was built or read: numbers as numbers, addresses with their checksum.
export function fields(transaction) {
  const address = (text) => (text ? getAddress(text) : null);
  const listed = (list) => (list ?? []).map((one) => ({ ...one, address: address(one.address) }));
  const { type, chainId, to, data, gasPrice, maxFeePerGas, maxPriorityFeePerGas } = transaction;
  const { maxFeePerBlobGas, blobVersionedHashes } = transaction;
  const number = (of) => BigInt(of ?? 0);
  return {
    type,
    chainId,
    to: address(to),
    data: data ?? '0x',
    nonce: number(transaction.nonce),
    gas: number(transaction.gas),
    value: number(transaction.value),
    gasPrice,
    maxFeePerGas,
    maxPriorityFeePerGas,
    maxFeePerBlobGas,
    blobVersionedHashes,
    accessList: listed(transaction.accessList),
    authorizations: listed(transaction.authorizationList).map(
      ({ address: code, chainId: chain, nonce, r, s, yParity }) => ({
        code,
        chain: number(chain),
        nonce: number(nonce),
        r,
        s,
        yParity,
      }),
    ),
  };
}

// The lines that the HSM must have shown of it.
export function shown(transaction) {
  const price = transaction.gasPrice ?? transaction.maxFeePerGas;
  const blobs =
    131_072n * BigInt(transaction.blobVersionedHashes?.length ?? 0) * (transaction.maxFeePerBlobGas ?? 0n);
  const fee = transaction.gas * price + blobs;
  const known = { 1: 'ETH', 10: 'ETH' }[transaction.chainId] ?? 'coins of that chain';
  const lines = [`fee: at most ${formatEther(fee)} ${known}`, `nonce: ${transaction.nonce}`];
  const { value, data, to } = transaction;
  if (value) lines.push(`send: ${formatEther(value)} ${known}`, `  to: ${to}`);
  if (data?.length !== 138) return lines;
  const { functionName, args } = decodeFunctionData({ abi: erc20Abi, data });
  const [word, amount] = { transfer: ['send', `${args[1]} base units`], approve: ['allow', 'any amount'] }[
    functionName
  ];
  return [...lines, `${word}: ${amount} of token ${to}`, `  to: ${args[0]}`];
}

// The same transaction with another value in one field, for each of its fields.
export function changed(transaction) {
  const added = {
    nonce: 1,
    chainId: 2,
    gas: 1n,
    value: 1n,
    gasPrice: 1n,
    maxFeePerGas: 1n,
    maxPriorityFeePerGas: -1n,
    maxFeePerBlobGas: 1n,
  };
  const absent = { nonce: 0, gas: 0n, value: 0n };
  const others = { to: authority.address, data: `${transaction.data ?? '0x'}00` };
  for (const [field, by] of Object.entries(added)) {
    const value = transaction[field] ?? absent[field];
    if (value !== undefined) others[field] = value + by;
  }
  if (transaction.type !== 'legacy')
    others.accessList = [...(transaction.accessList ?? []), { address: PAYEE, storageKeys: [] }];
  if (transaction.blobVersionedHashes) others.blobVersionedHashes = transaction.blobVersionedHashes.slice(1);
  if (transaction.authorizationList)
    others.authorizationList = [0, 1].flatMap(() => transaction.authorizationList);
  return Object.entries(others).map(([field, value]) => [field, { ...transaction, [field]: value }]);
}

// Transactions that viem encodes, and that nobody should sign.
export async function unsafe() {
  const { 'legacy with EIP-155': legacy, 'EIP-1559': dynamic } = await transactions();
  const { chainId: _, ...everywhere } = legacy;
  const signed = await privateKeyToAccount(numberToHex(8, { size: 32 })).signTransaction(dynamic);
  return { 'chain-id-missing': serializeTransaction(everywhere), 'malformed-transaction': signed };
}
