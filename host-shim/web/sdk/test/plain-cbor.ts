/** The test double's own CBOR encoder: it shares no code with the one under test. */

export type Plain = null | boolean | number | string | Uint8Array | readonly Plain[] | ReadonlyMap<string, Plain>;

export function encodePlain(value: Plain): Buffer {
  if (value === null) return Buffer.from([0xf6]);
  if (typeof value === "boolean") return Buffer.from([value ? 0xf5 : 0xf4]);
  if (typeof value === "number") return head(0, value);
  if (typeof value === "string") return Buffer.concat([head(3, Buffer.byteLength(value)), Buffer.from(value)]);
  if (value instanceof Uint8Array) return Buffer.concat([head(2, value.length), value]);
  if (value instanceof Map) {
    const entries = [...value].flatMap(([key, element]) => [encodePlain(key), encodePlain(element as Plain)]);
    return Buffer.concat([head(5, value.size), ...entries]);
  }
  const elements = value as readonly Plain[];
  return Buffer.concat([head(4, elements.length), ...elements.map(encodePlain)]);
}

/** Major type and argument in the shortest form (RFC 8949 section 3). */
function head(major: number, argument: number): Buffer {
  const first = major << 5;
  if (argument < 24) return Buffer.from([first | argument]);
  const [extra, size] = argument < 2 ** 8 ? [24, 1] : argument < 2 ** 16 ? [25, 2] : argument < 2 ** 32 ? [26, 4] : [27, 8];
  const bytes = Buffer.alloc(size);
  if (size === 8) bytes.writeBigUInt64BE(BigInt(argument));
  else bytes.writeUIntBE(argument, 0, size);
  return Buffer.concat([Buffer.from([first | extra]), bytes]);
}

/** A map in this order. */
export function plainMap(fields: { readonly [name: string]: Plain }): ReadonlyMap<string, Plain> {
  return new Map(Object.entries(fields));
}
