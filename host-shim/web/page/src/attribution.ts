/** Which signatures were approved on this device, and which were not. */

import { toHex, type Entry } from "@countersign/device";
import type { Remembered } from "./store.js";

/** How long an approval is good for a signature, and some room for two clocks that do not run alike; in seconds. */
const APPROVAL_LASTS_SECS = 300;
const ROOM_SECS = 60;

/**
 * The approval that was sent from here, for each signature that has one. It is of the same key and the same intent, it fits in time, it was
 * no plain code, which this page never sends, and one approval stands for one signature.
 */
export function attribute(entries: readonly Entry[], remembered: readonly Remembered[]): ReadonlyMap<Entry, Remembered> {
  const left = new Set(remembered.filter(({ decision }) => decision !== "declined"));
  const own = new Map<Entry, Remembered>();
  const take = (fits: (entry: Entry, sent: Remembered) => boolean): void => {
    for (const entry of entries) {
      const found = own.has(entry) ? undefined : [...left].find((sent) => fits(entry, sent));
      if (found === undefined) continue;
      left.delete(found);
      own.set(entry, found);
    }
  };
  // What a receipt numbered is certain and goes first.
  take((entry, sent) => sent.counter === entry.counter && isOf(entry, sent));
  take((entry, sent) => sent.counter === undefined && isOf(entry, sent) && isInTime(entry, sent));
  return own;
}

function isOf(entry: Entry, sent: Remembered): boolean {
  return entry.approval !== "code" && entry.key === sent.key && toHex(entry.intentHash) === sent.intentHash;
}

function isInTime(entry: Entry, sent: Remembered): boolean {
  return entry.time >= sent.time - ROOM_SECS && entry.time <= sent.expires + APPROVAL_LASTS_SECS + ROOM_SECS;
}
