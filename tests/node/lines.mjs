// One JSON object a line in, one out: `{"ask": NAME, …}` is answered with `{"ok": …}` or, where the library refuses,
// `{"failed": WHY}`. Numbers beyond 2^53 are decimal text, bytes are hex text beginning with 0x. When the questions end, the
// script ends, whatever is still open in it.

import { createInterface } from 'node:readline';

function plain(key, value) {
  if (typeof value === 'bigint') return value.toString();
  return value instanceof Uint8Array ? hex(value) : value;
}

export function hex(bytes) {
  return `0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`;
}

export function bytes(text) {
  if (!/^0x([0-9a-f]{2})*$/.test(text)) throw new Error(`not hex: ${text}`);
  return new Uint8Array(Buffer.from(text.slice(2), 'hex'));
}

/// `ending` closes what the script has opened, whether or not anybody asked for that.
export async function serve(questions, ending = () => {}) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { ask, ...given } = JSON.parse(line);
    let answer;
    try {
      if (!Object.hasOwn(questions, ask)) throw new Error(`nobody answers ${ask}`);
      answer = { ok: await questions[ask](given) };
    } catch (error) {
      answer = { failed: error.stack ?? String(error) };
    }
    process.stdout.write(`${JSON.stringify(answer, plain)}\n`);
  }
  await ending();
  process.exit();
}
