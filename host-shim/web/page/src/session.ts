/** What every view works with: the store, the configuration beside the page, the pinned root, and the device. */

import { Device, RelayTransport, type View, type Whose } from "@countersign/device";
import { PageStore } from "./store.js";

/** `config.json`, served beside the page. All of it may be absent. */
export interface Config {
  readonly rootFingerprint?: string;
  readonly relay: string;
  readonly tenantName?: string;
}

export const FINGERPRINT = /^[0-9a-f]{64}$/;

const PINNED = "root-fingerprint";
const SOURCE = "root-source";

/** Who named the pinned root first: its user, or this website's `config.json`. */
export type RootSource = "user" | "website";

export class Session {
  /** One for each root; an account stays with the root that it was set up under. */
  readonly #devices = new Map<string, Device>();

  private constructor(
    readonly store: PageStore,
    readonly config: Config,
    /** Undefined until it was entered once, or this website names one. */
    public pinned: string | undefined,
    public rootSource: RootSource,
    /** False where this website named the root and nobody compared it yet. */
    public rootSeen: boolean,
  ) {}

  static async open(): Promise<Session> {
    const [store, config] = [new PageStore(), await readConfig()];
    const kept = await store.setting(PINNED);
    const source = kept !== undefined && (await store.setting(SOURCE)) !== "website" ? "user" : "website";
    return new Session(store, config, kept ?? config.rootFingerprint, source, kept !== undefined);
  }

  /** Pins a root. It stays until the user enters another one: what the server says later changes nothing. */
  async pin(fingerprint: string, source: RootSource = "user"): Promise<void> {
    await this.store.set(SOURCE, source);
    await this.store.set(PINNED, fingerprint);
    [this.pinned, this.rootSource, this.rootSeen] = [fingerprint, source, true];
    this.forgetIdentity();
  }

  /** Pins the root that this website named, once its user compared it. */
  async keepPin(): Promise<void> {
    if (this.pinned !== undefined && !this.rootSeen) await this.pin(this.pinned, "website");
  }

  /** Behind the pinned root. Only where there is one. */
  get device(): Device {
    if (this.pinned === undefined) throw new Error("no root is pinned");
    return this.behind(this.pinned);
  }

  /** Behind this root. */
  behind(rootFingerprint: string): Device {
    const { relay } = this.config;
    const device = this.#devices.get(rootFingerprint) ?? new Device({ transport: new RelayTransport(relay), keyStore: this.store, rootFingerprint });
    this.#devices.set(rootFingerprint, device);
    return device;
  }

  /** The root of this account: the one that it was set up under, else the pinned one. */
  async rootOf({ tenant, account }: Whose): Promise<string> {
    return (await this.store.get(tenant, account))?.rootFingerprint ?? this.pinned ?? "";
  }

  /** Behind this account's own root. */
  async deviceOf(whose: Whose): Promise<Device> {
    return this.behind(await this.rootOf(whose));
  }

  /** Asks again who answers, with the next request. */
  forgetIdentity(): void {
    this.#devices.clear();
  }

  /** The service for a person: its own name in the protocol always, and beside it what this website calls it. */
  serviceName(tenant: string): string {
    return this.config.tenantName === undefined ? tenant : `${this.config.tenantName} (${tenant})`;
  }
}

async function readConfig(): Promise<Config> {
  try {
    const response = await fetch("config.json", { credentials: "omit", cache: "no-cache", redirect: "error" });
    if (!response.ok) return { relay: "" };
    const { root_fingerprint: root, relay, tenant_name: name } = (await response.json()) as Record<string, unknown>;
    return {
      relay: typeof relay === "string" ? relay : "",
      ...(typeof root === "string" && FINGERPRINT.test(root) ? { rootFingerprint: root } : {}),
      ...(typeof name === "string" && name !== "" ? { tenantName: name } : {}),
    };
  } catch {
    return { relay: "" };
  }
}

/** The HSM's clock, carried on by this device's own since the HSM told its time. */
export class HsmClock {
  readonly #toldAt = performance.now();

  constructor(readonly told: number) {}

  static of(view: Pick<View, "now">): HsmClock {
    return new HsmClock(view.now);
  }

  now(): number {
    return this.told + (performance.now() - this.#toldAt) / 1000;
  }
}
