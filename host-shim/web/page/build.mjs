/**
 * Builds the page into dist/: one script, one style sheet, the images, index.html with their SHA-384 hashes, the licences of what is
 * bundled, and manifest.json. The same sources give the same bytes.
 *
 * Another folder than dist/ may be named on the command line. COUNTERSIGN_RELAY, where the relay is on another origin, is that origin: the page may then connect to it as well.
 */

import { build } from "esbuild";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { contentSecurityPolicy } from "./csp.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const dist = resolve(process.argv[2] ?? join(here, "dist"));

const sha384 = (bytes) => `sha384-${createHash("sha384").update(bytes).digest("base64")}`;

async function bundle() {
  const result = await build({
    absWorkingDir: here,
    entryPoints: { app: "src/main.ts" },
    bundle: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    minify: true,
    legalComments: "none",
    metafile: true,
    outdir: dist,
    logLevel: "warning",
  });
  await build({
    absWorkingDir: here,
    entryPoints: { style: "src/style.css" },
    bundle: true,
    external: ["*.svg"],
    charset: "utf8",
    minify: true,
    legalComments: "none",
    outdir: dist,
    logLevel: "warning",
  });
  return Object.keys(result.metafile.inputs);
}

/** The licence texts of the libraries that are in the bundle. */
function licences(inputs) {
  const folders = new Set();
  for (const input of inputs) {
    const match = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match) folders.add(match[1]);
  }
  const texts = [...folders].sort().map((folder) => {
    const path = join(here, folder);
    const { name, version } = JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
    const file = readdirSync(path).find((each) => /^licen[cs]e/i.test(each));
    return `${name} ${version}\n\n${file ? readFileSync(join(path, file), "utf8").trim() : "(see its repository)"}\n`;
  });
  return texts.join(`\n${"-".repeat(72)}\n\n`);
}

function page() {
  const template = readFileSync(join(here, "index.html"), "utf8");
  return template.replace(/\{\{([a-z.]+)\}\}/g, (_, name) =>
    name === "csp" ? contentSecurityPolicy(process.env.COUNTERSIGN_RELAY ?? "", "meta") : sha384(readFileSync(join(dist, name))),
  );
}

rmSync(dist, { recursive: true, force: true });
mkdirSync(dist, { recursive: true });
const inputs = await bundle();
for (const asset of readdirSync(join(here, "assets")).sort()) copyFileSync(join(here, "assets", asset), join(dist, asset));
writeFileSync(join(dist, "licences.txt"), licences(inputs));
writeFileSync(join(dist, "index.html"), page());
const files = {};
for (const name of readdirSync(dist).sort()) {
  const bytes = readFileSync(join(dist, name));
  files[name] = { bytes: bytes.length, integrity: sha384(bytes) };
}
const header = contentSecurityPolicy(process.env.COUNTERSIGN_RELAY ?? "", "header");
writeFileSync(join(dist, "manifest.json"), `${JSON.stringify({ content_security_policy: header, files }, null, 2)}\n`);
for (const [name, { bytes }] of Object.entries(files)) console.log(`${String(bytes).padStart(8)}  ${name}`);
