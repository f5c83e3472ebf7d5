/**
 * CBOR (RFC 8949) in the one form that docs/approvals.md allows: shortest integers, definite lengths, no tags, no floats, no
 * `undefined`. Maps keep the order they are given in. What is decoded is encoded again and compared: another form is refused.
 */

import { decode as cborgDecode, encode as cborgEncode } from "cborg";
import { equal, own, type Bytes } from "./bytes.js";
import { NotTrusted } from "./errors.js";

/** All that a message or a statement is made of. Integers are unsigned and safe (below 2^53). */
export type Value = null | boolean | number | string | Uint8Array | readonly Value[] | Message;

/** A map with text keys, in order. */
export type Message = ReadonlyMap<string, Value>;

/** The most bytes that are looked at. The largest answer, an account with its history, is far smaller. */
export const MAX_BYTES = 1 << 20;

/** The deepest nesting that the protocol has is below this. */
const MAX_DEPTH = 12;

/** A message from its fields, in the order of writing. */
export function message(fields: { readonly [name: string]: Value }): Message {
  return new Map(Object.entries(fields));
}

export function encode(value: Value): Bytes {
  assertCanonical(value, 0);
  // No `mapSorter`: maps are written in the order given.
  return own(cborgEncode(value, { mapSorter: undefined } as unknown as Parameters<typeof cborgEncode>[1]));
}

/** Decodes one value, strictly. Throws `NotTrusted("malformed-statement")`. */
export function decode(bytes: Uint8Array): Value {
  if (bytes.length > MAX_BYTES) throw new NotTrusted("malformed-statement", "too large");
  let value: unknown;
  let again: Uint8Array;
  try {
    value = cborgDecode(own(bytes), { ...STRICT });
    again = encode(value as Value);
  } catch (cause) {
    throw new NotTrusted("malformed-statement", `not CBOR as it must be: ${String(cause)}`);
  }
  if (!equal(bytes, again)) throw new NotTrusted("malformed-statement", "not in canonical form");
  return value as Value;
}

const STRICT = {
  strict: true,
  useMaps: true,
  rejectDuplicateMapKeys: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
} as const;

/** The types alone do not hold what was decoded, so each value is looked at. */
function assertCanonical(value: Value, depth: number): void {
  if (depth > MAX_DEPTH) throw new TypeError("too deep");
  if (value === null || typeof value === "boolean" || value instanceof Uint8Array) return;
  if (typeof value === "string") return assertText(value);
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value) || value < 0 || Object.is(value, -0)) throw new TypeError("not an unsigned integer");
  } else if (Array.isArray(value)) {
    for (const element of value) assertCanonical(element, depth + 1);
  } else if (value instanceof Map) {
    for (const [key, element] of value) {
      if (typeof key !== "string") throw new TypeError("a key that is no text");
      assertText(key);
      assertCanonical(element, depth + 1);
    }
  } else {
    throw new TypeError("not a value of the protocol");
  }
}

/** Text has to survive UTF-8: a lone surrogate would be replaced silently. */
function assertText(text: string): void {
  if (/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/.test(text)) {
    throw new TypeError("text that is not Unicode");
  }
}
