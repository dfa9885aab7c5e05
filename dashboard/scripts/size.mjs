// The budget of JavaScript, gzip: 280 KB for the first view, 60 KB more for any other page. Reads the build's manifest.
import { existsSync, readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const FIRST_VIEW_KB = 280;
const OTHER_PAGE_KB = 60;
const dist = new URL("../dist/", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL(".vite/manifest.json", dist), "utf8"));

/** All script files that a chunk needs before it can run. */
function closure(key, found = new Set()) {
  const chunk = manifest[key];
  if (!chunk || found.has(chunk.file)) return found;
  found.add(chunk.file);
  for (const next of chunk.imports ?? []) closure(next, found);
  return found;
}

const sizes = new Map();
function kb(files) {
  let bytes = 0;
  for (const file of files) {
    if (!file.endsWith(".js")) continue;
    if (!sizes.has(file)) sizes.set(file, gzipSync(readFileSync(new URL(file, dist)), { level: 9 }).length);
    bytes += sizes.get(file);
  }
  return bytes / 1000;
}

const keyOf = (end) => Object.keys(manifest).find((key) => key.endsWith(end));
const need = (end) => {
  const key = keyOf(end);
  if (!key) throw new Error(`the build has no ${end}`);
  return closure(key);
};
const union = (...sets) => new Set(sets.flatMap((set) => [...set]));

const entry = need("index.html");
const charts = need("components/time-chart.tsx");
const first = union(entry, need("app/home.tsx"), charts, need("app/vitals.ts"));
const theme = existsSync(new URL("theme.js", dist)) ? gzipSync(readFileSync(new URL("theme.js", dist))).length / 1000 : 0;

let failed = false;
function row(name, size, budget) {
  const isOver = size > budget;
  failed ||= isOver;
  process.stdout.write(`${isOver ? "OVER" : "ok  "}  ${name.padEnd(34)} ${size.toFixed(1).padStart(7)} KB of ${budget}\n`);
}
row("first view (overview)", kb(first) + theme, FIRST_VIEW_KB);
for (const key of Object.keys(manifest).filter((k) => manifest[k].isDynamicEntry && k.startsWith("src/features/"))) {
  const more = [...closure(key)].filter((file) => !first.has(file));
  row(`${key.replace("src/features/", "")}, beyond it`, kb(more), OTHER_PAGE_KB);
}
process.exitCode = failed ? 1 : 0;
