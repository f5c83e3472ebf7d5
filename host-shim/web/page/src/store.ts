/** What this page keeps, in IndexedDB: keys that cannot be exported, what was approved here, and the pinned root. */

import type { Enrolment, KeyStore, ReceiptFile } from "@countersign/device";
import { openDB, type DBSchema, type IDBPDatabase } from "idb";

/** Something that was decided on this device: one for each intent. */
export interface Remembered {
  readonly tenant: string;
  readonly account: string;
  readonly intentHash: string;
  readonly intent: string;
  readonly key: string;
  readonly summary: string;
  /** `sent`: the approval went out, and whether it arrived is not known. */
  readonly decision: "sent" | "approved" | "declined";
  /** By the HSM's clock. */
  readonly time: number;
  /** Until when it could be approved; by the HSM's clock. */
  readonly expires: number;
  /** Which signature of the account it became, where that is known. */
  readonly counter?: number;
  readonly receipt?: ReceiptFile;
}

interface Schema extends DBSchema {
  enrolments: { key: [string, string]; value: Enrolment };
  remembered: { key: [string, string, string]; value: Remembered };
  settings: { key: string; value: string };
}

export class PageStore implements KeyStore {
  readonly #db: Promise<IDBPDatabase<Schema>>;

  constructor() {
    this.#db = openDB<Schema>("countersign", 2, {
      async upgrade(db, before, _, transaction) {
        if (before === 0) {
          db.createObjectStore("enrolments", { keyPath: ["tenant", "account"] });
          db.createObjectStore("settings");
        } else {
          // Version 1 kept neither the root nor the image of an account, and one summary for each hash.
          db.deleteObjectStore("remembered");
          const rootFingerprint = (await transaction.objectStore("settings").get("root-fingerprint")) ?? "";
          const enrolments = transaction.objectStore("enrolments");
          for (const each of await enrolments.getAll()) await enrolments.put({ ...each, rootFingerprint, measurement: new Uint8Array() });
        }
        db.createObjectStore("remembered", { keyPath: ["tenant", "account", "intent"] });
      },
    });
  }

  /** Whether this browser promised to keep what is here when space is short. Its user can clear it all the same. */
  async persistent(): Promise<boolean> {
    return (await navigator.storage?.persisted?.().catch(() => false)) ?? false;
  }

  async get(tenant: string, account: string): Promise<Enrolment | undefined> {
    return (await this.#db).get("enrolments", [tenant, account]);
  }

  async put(enrolment: Enrolment): Promise<void> {
    await (await this.#db).put("enrolments", enrolment);
    // Keys cannot be made again, so the browser is asked not to clear them when space is short.
    if (navigator.storage?.persist !== undefined) await navigator.storage.persist().catch(() => false);
  }

  async list(): Promise<readonly Enrolment[]> {
    return (await this.#db).getAll("enrolments");
  }

  async remove(tenant: string, account: string): Promise<void> {
    const transaction = (await this.#db).transaction(["enrolments", "remembered"], "readwrite");
    await transaction.objectStore("enrolments").delete([tenant, account]);
    await transaction.objectStore("remembered").delete(rangeOf(tenant, account));
    await transaction.done;
  }

  async remember(entry: Remembered): Promise<void> {
    await (await this.#db).put("remembered", entry);
  }

  /** What was sent and certainly refused was never approved. */
  async forget({ tenant, account, intent }: Remembered): Promise<void> {
    await (await this.#db).delete("remembered", [tenant, account, intent]);
  }

  async recall(tenant: string, account: string, intent: string): Promise<Remembered | undefined> {
    return (await this.#db).get("remembered", [tenant, account, intent]);
  }

  /** What was decided here for this account, newest first. */
  async remembered(tenant: string, account: string): Promise<readonly Remembered[]> {
    return (await (await this.#db).getAll("remembered", rangeOf(tenant, account))).sort((a, b) => b.time - a.time);
  }

  async setting(name: string): Promise<string | undefined> {
    return (await this.#db).get("settings", name);
  }

  async set(name: string, value: string): Promise<void> {
    await (await this.#db).put("settings", value, name);
  }
}

/** All that is remembered of an account. */
function rangeOf(tenant: string, account: string): IDBKeyRange {
  return IDBKeyRange.bound([tenant, account], [tenant, account, []]);
}
