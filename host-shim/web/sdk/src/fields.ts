/** Reads what was decoded, field by field: every type, every length, every count. Any doubt is `NotTrusted("malformed-statement")`. */

import { own, utf8, type Bytes } from "./bytes.js";
import type { Message, Value } from "./cbor.js";
import { NotTrusted } from "./errors.js";

function malformed(what: string): never {
  throw new NotTrusted("malformed-statement", what);
}

/** An array that is read from its first element to its last, and no further. */
export class Fields {
  #at = 0;
  readonly #elements: readonly Value[];

  constructor(
    value: Value,
    readonly what: string,
    count: number,
  ) {
    if (!Array.isArray(value)) malformed(`${what}: no array`);
    if (value.length !== count) malformed(`${what}: ${value.length} fields instead of ${count}`);
    this.#elements = value;
  }

  #next(): Value {
    const value = this.#elements[this.#at++];
    if (value === undefined) malformed(`${this.what}: read beyond its end`);
    return value;
  }

  /** A byte string of exactly `length` bytes; without a length, of at most 1,023 (a credential id). */
  bytes(length?: number): Bytes {
    const value = this.#next();
    return bytesOf(value, `${this.what}[${this.#at - 1}]`, length);
  }

  /** A text of at most `most` bytes of UTF-8. */
  text(most: number = MOST.text): string {
    const value = this.#next();
    return textOf(value, `${this.what}[${this.#at - 1}]`, most);
  }

  /** Leaves out what is not needed. */
  skip(): void {
    this.#next();
  }

  /** A text that is one of these words. */
  oneOf<Word extends string>(words: readonly Word[]): Word {
    const text = this.text();
    return words.find((word) => word === text) ?? malformed(`${this.what}[${this.#at - 1}]: unknown word ${text}`);
  }

  uint(): number {
    const value = this.#next();
    return typeof value === "number" ? value : malformed(`${this.what}[${this.#at - 1}]: no integer`);
  }

  bool(): boolean {
    const value = this.#next();
    return typeof value === "boolean" ? value : malformed(`${this.what}[${this.#at - 1}]: no bool`);
  }

  /** An array of at most `most` elements, each read by `read`. */
  list<T>(most: number, read: (value: Value) => T): T[] {
    const value = this.#next();
    return listOf(value, `${this.what}[${this.#at - 1}]`, most, read);
  }

  digests(): Bytes[] {
    return this.list(MOST.digests, (value) => bytesOf(value, "digest", 32));
  }
}

/** The bounds of docs/approvals.md ("Notation"), in bytes and in elements. */
export const MOST = {
  statement: 131_072,
  summary: 32_768,
  ciphertext: 4_096,
  bytes: 1_023,
  /** A path, an address, an xpub, an RP id. */
  text: 256,
  origin: 267,
  keyName: 129,
  mechanism: 64,
  headline: 96,
  digests: 256,
  keys: 16,
  factors: 16,
  mechanisms: 16,
  intents: 4,
  entries: 8,
} as const;

/** A byte string of exactly `length` bytes. */
export function bytesOf(value: Value | undefined, what: string, length?: number): Bytes {
  const bytes = bytesUpTo(value, what, length ?? MOST.bytes);
  if (length !== undefined && bytes.length !== length) malformed(`${what}: ${bytes.length} bytes instead of ${length}`);
  return bytes;
}

/** A byte string of at most `most` bytes. */
export function bytesUpTo(value: Value | undefined, what: string, most: number): Bytes {
  if (!(value instanceof Uint8Array)) malformed(`${what}: no byte string`);
  if (value.length > most) malformed(`${what}: more than ${most} bytes`);
  return own(value);
}

/** A SEC 1 uncompressed point: 65 bytes, the first 04. That it lies on its curve shows where the key is used. */
export function pointOf(value: Value | undefined, what: string): Bytes {
  const bytes = bytesOf(value, what, 65);
  return bytes[0] === 4 ? bytes : malformed(`${what}: no uncompressed point`);
}

export function listOf<T>(value: Value, what: string, most: number, read: (value: Value) => T): T[] {
  if (!Array.isArray(value)) malformed(`${what}: no array`);
  if (value.length > most) malformed(`${what}: more than ${most} elements`);
  return value.map(read);
}

/** A message with exactly these fields, in this order. */
export function messageOf(value: Value | undefined, what: string, names: readonly string[]): Message {
  if (!(value instanceof Map)) malformed(`${what}: no map`);
  const found = [...value.keys()];
  if (found.length !== names.length || found.some((name, i) => name !== names[i])) {
    malformed(`${what}: has ${found.join(", ")} instead of ${names.join(", ")}`);
  }
  return value;
}

export function textOf(value: Value | undefined, what: string, most: number = MOST.text): string {
  if (typeof value !== "string") malformed(`${what}: no text`);
  return utf8(value).length <= most ? value : malformed(`${what}: more than ${most} bytes`);
}

export function uintOf(value: Value | undefined, what: string): number {
  return typeof value === "number" ? value : malformed(`${what}: no integer`);
}
