// Typed data (EIP-712) and personal messages (EIP-191), as a backend in JavaScript writes them.

import { stringToHex } from 'viem';

const SPENDER = '0xCD2a3d9F938E13CD947Ec05AbC7FE734Df8DD826';
const PERMIT2 = '0x000000000022D473030F116dDEE9F6B43aC78BA3';
const USDC = '0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48';

// EIP-712, section "Specification", its example; with lists, as `eth_signTypedData_v4` has them.
const mail = {
  name: 'mail',
  domain: {
    name: 'Ether Mail',
    version: '1',
    chainId: 1,
    verifyingContract: '0xCcCCccccCCCCcCCCCCCcCcCccCcCCCcCcccccccC',
  },
  types: {
    Person: [
      { name: 'name', type: 'string' },
      { name: 'wallets', type: 'address[]' },
    ],
    Mail: [
      { name: 'from', type: 'Person' },
      { name: 'to', type: 'Person[]' },
      { name: 'contents', type: 'string' },
    ],
  },
  primaryType: 'Mail',
  message: {
    from: { name: 'Cow', wallets: [SPENDER, '0xDeaDbeefdEAdbeefdEadbEEFdeadbeEFdEaDbeeF'] },
    to: [
      { name: 'Bob – „Ünïcode“ 🐄', wallets: ['0xbBbBBBBbbBBBbbbBbbBbbbbBBbBbbbbBbBbbBBbB'] },
      { name: '', wallets: [] },
    ],
    contents: 'Hello,\n"Bob"!\u0000\\',
  },
};

const everyType = {
  name: 'every kind of value',
  domain: { name: 'Types', salt: `0x${'5a'.repeat(32)}` },
  types: {
    Inner: [
      { name: 'flag', type: 'bool' },
      { name: 'tag', type: 'bytes4' },
    ],
    Types: [
      { name: 'small', type: 'uint8' },
      { name: 'great', type: 'uint256' },
      { name: 'least', type: 'int256' },
      { name: 'minus', type: 'int8' },
      { name: 'empty', type: 'bytes' },
      { name: 'data', type: 'bytes' },
      { name: 'hash', type: 'bytes32' },
      { name: 'inner', type: 'Inner[2]' },
      { name: 'grid', type: 'uint16[2][]' },
      { name: 'none', type: 'string[]' },
    ],
  },
  primaryType: 'Types',
  message: {
    small: 255,
    great: 2n ** 256n - 1n,
    least: -(2n ** 255n),
    minus: -1,
    empty: '0x',
    data: '0x00ff',
    hash: `0x${'00'.repeat(31)}01`,
    inner: [
      { flag: true, tag: '0x01020304' },
      { flag: false, tag: '0xffffffff' },
    ],
    grid: [
      [1, 2],
      [3, 4],
      [0, 65_535],
    ],
    none: [],
  },
};

// EIP-2612, with the domain that USDC computes with.
const permit = (owner) => ({
  name: 'ERC-20 permit',
  domain: { name: 'USD Coin', version: '2', chainId: 1, verifyingContract: USDC },
  types: {
    Permit: [
      { name: 'owner', type: 'address' },
      { name: 'spender', type: 'address' },
      { name: 'value', type: 'uint256' },
      { name: 'nonce', type: 'uint256' },
      { name: 'deadline', type: 'uint256' },
    ],
  },
  primaryType: 'Permit',
  message: { owner, spender: SPENDER, value: 1_000_000n, nonce: 0n, deadline: 1_893_456_000n },
  shown: [
    'sign: allowance on Ethereum (eip155:1)',
    `allow: 1000000 base units of token ${USDC}`,
    `  to: ${SPENDER}`,
  ],
});

// Uniswap/permit2, PermitHash.sol and AllowanceTransfer.sol.
const permit2 = {
  name: 'Permit2',
  domain: { name: 'Permit2', chainId: 1, verifyingContract: PERMIT2 },
  types: {
    PermitDetails: [
      { name: 'token', type: 'address' },
      { name: 'amount', type: 'uint160' },
      { name: 'expiration', type: 'uint48' },
      { name: 'nonce', type: 'uint48' },
    ],
    PermitSingle: [
      { name: 'details', type: 'PermitDetails' },
      { name: 'spender', type: 'address' },
      { name: 'sigDeadline', type: 'uint256' },
    ],
  },
  primaryType: 'PermitSingle',
  message: {
    details: { token: USDC, amount: 2n ** 160n - 1n, expiration: 1_893_456_000, nonce: 3 },
    spender: SPENDER,
    sigDeadline: 1_893_456_000n,
  },
  shown: [
    'warning: the allowance has no practical limit',
    'sign: allowance on Ethereum (eip155:1)',
    `  to: ${SPENDER}`,
  ],
};

// Each with what it would be if it said something else.
export function typedData(owner) {
  const other = (definition, change) => ({
    shown: [],
    ...definition,
    other: { message: { ...definition.message, ...change } },
  });
  return [
    other(mail, { contents: 'Goodbye!' }),
    other(everyType, { minus: 1 }),
    other(permit(owner), { value: 1_000_001n }),
    other(permit2, { details: { ...permit2.message.details, nonce: 4 } }),
  ];
}

export const messages = ['', 'I, Alice, agree.', 'Ünïcode 🐄\nsend: 0 ETH'].map((text) => stringToHex(text));
// 32 bytes that are no text: a message all the same, never a hash.
messages.push(`0x${'fe'.repeat(32)}`);
