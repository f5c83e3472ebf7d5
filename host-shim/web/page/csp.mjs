/** The page's content security policy. */

/**
 * `relay` is the origin of the relay, empty where it is the page's own. A meta tag cannot say `frame-ancestors`, so a server sends the
 * policy as a header too.
 */
export function contentSecurityPolicy(relay, place) {
  if (relay !== "" && new URL(relay).origin !== relay) throw new Error("COUNTERSIGN_RELAY is an origin, like https://relay.example");
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    `connect-src 'self'${relay === "" ? "" : ` ${relay}`}`,
    "base-uri 'none'",
    "form-action 'none'",
    ...(place === "header" ? ["frame-ancestors 'none'"] : []),
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; ");
}
