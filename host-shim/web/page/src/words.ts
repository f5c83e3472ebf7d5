/** How times, kinds and names are said. */

import type { Floor } from "@countersign/device";

/** `4:05`, or `1 h 04 min`. */
export function duration(secs: number): string {
  const whole = Math.max(0, Math.ceil(secs));
  if (whole >= 3600) return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** The same for a sentence: "about 5 minutes". */
export function roughly(secs: number): string {
  if (secs < 90) return `${Math.max(1, Math.ceil(secs))} seconds`;
  if (secs < 5400) return `about ${Math.round(secs / 60)} minutes`;
  return `about ${Math.round(secs / 3600)} hours`;
}

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function moment(unixSecs: number): string {
  return DATE.format(new Date(unixSecs * 1000));
}

export function approvalKind(approval: Floor): string {
  return { code: "plain code", "sealed-code": "code on a device", passkey: "passkey" }[approval];
}

/** Groups of four, so that a person can type or compare it. */
export function grouped(text: string): string {
  return text.replace(/(.{4})(?=.)/g, "$1 ");
}

export function hexOf(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
