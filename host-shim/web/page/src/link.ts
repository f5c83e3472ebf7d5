/** The page's addresses: what stands behind `#`. */

import { fromHex, type Bytes, type Whose } from "@countersign/device";

export type Link =
  | { readonly view: "home" | "settings" | "unknown" }
  | ({ readonly view: "account" } & Whose)
  | ({ readonly view: "enroll" | "approve"; readonly id: Bytes } & Whose);

export function parseLink(hash: string): Link {
  const [view = "", tenant = "", account = "", id = "", ...rest] = hash.replace(/^#\/?/, "").split("/").map(decoded);
  if (view === "") return { view: "home" };
  if (view === "settings") return { view };
  if (view === "account" && account !== "" && id === "") return { view, tenant, account };
  if ((view === "enroll" || view === "approve") && rest.length === 0 && /^[0-9a-f]{32}$/i.test(id)) {
    return { view, tenant, account, id: fromHex(id.toLowerCase()) };
  }
  return { view: "unknown" };
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return "";
  }
}

export function linkTo(view: "account" | "approve" | "enroll", whose: Whose, id = ""): string {
  return `#${[view, whose.tenant, whose.account, id].filter((part) => part !== "").map(encodeURIComponent).join("/")}`;
}
