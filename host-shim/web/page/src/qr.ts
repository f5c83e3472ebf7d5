/** A QR code as SVG, built element by element. Dark on light in either theme, because cameras want it so. */

import { encode } from "uqr";
import { svg } from "./dom.js";

/** ISO/IEC 18004 asks for a quiet zone of four modules. */
const QUIET_ZONE = 4;

export function qrCode(text: string, title: string): SVGElement {
  const { data, size } = encode(text, { ecc: "M", border: QUIET_ZONE });
  const path = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : []))).join("");
  const name = svg("title", {});
  name.textContent = title;
  return svg(
    "svg",
    { viewBox: `0 0 ${size} ${size}`, role: "img", class: "qr", "data-testid": "qr", "shape-rendering": "crispEdges" },
    name,
    svg("rect", { width: "100%", height: "100%", fill: "#ffffff" }),
    svg("path", { d: path, fill: "#0b1f1a" }),
  );
}
