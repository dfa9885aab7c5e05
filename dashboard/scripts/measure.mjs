// How fast the dashboard is, on a release build with a real browser: `make measure-dashboard`.
// Prints each figure with its bound; clients, server and browser share the machine, so take it when nothing else runs.
//   AGENT_TALLY=…/agent-tally node scripts/measure.mjs [load] [live] [large] [soak=SECONDS]
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright";

const BINARY = process.env.AGENT_TALLY ?? "../target/release/agent-tally";
const DIST = new URL("../dist", import.meta.url).pathname;
const asked = process.argv.slice(2);
const wants = (name) => asked.length === 0 || asked.some((a) => a.split("=")[0] === name);

let failed = false;
function report(name, value, unit, bound) {
  const isOver = bound !== undefined && value > bound;
  failed ||= isOver;
  const shown = Math.abs(value) < 10 ? value.toFixed(3) : value.toFixed(0);
  process.stdout.write(
    `${isOver ? "OVER" : "ok  "}  ${name.padEnd(58)} ${shown.padStart(9)} ${unit}${bound === undefined ? "" : ` (at most ${bound})`}\n`,
  );
}
const quantile = (values, q) => [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))];

async function serve() {
  const directory = mkdtempSync(join(tmpdir(), "agent-tally-measure-"));
  const child = spawn(
    BINARY,
    ["serve", "--listen", "127.0.0.1:0", "--data-dir", join(directory, "data"), "--dashboard-dir", DIST],
    {
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  const url = await new Promise((resolve, reject) => {
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const found = /ready on (http:\S+)/.exec(line)?.[1];
      if (found) resolve(found);
    });
  });
  const stop = async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  return { url, stop };
}

function demo(url, ...options) {
  const ended = spawnSync(BINARY, ["demo", "--url", url, "--duration", "0s", ...options], { stdio: "ignore" });
  if (ended.status !== 0) throw new Error("the demo failed");
}

const post = (url, events) =>
  fetch(`${url}/api/v1/events`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(events),
  }).then((r) => r.json());

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--enable-precise-memory-info",
    "--js-flags=--expose-gc",
  ],
});

/** A page in a profile of its own: nothing is cached. */
async function fresh() {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  await page.addInitScript(() => {
    window.measured = { lcp: 0, cls: 0, inp: 0, requests: [] };
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.measured.lcp = entry.startTime;
    }).observe({ type: "largest-contentful-paint", buffered: true });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.measured.cls += entry.value;
    }).observe({ type: "layout-shift", buffered: true });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries())
        if (entry.interactionId) window.measured.inp = Math.max(window.measured.inp, entry.duration);
    }).observe({ type: "event", durationThreshold: 16, buffered: true });
  });
  return { context, page };
}

const figure = (page, title) => page.getByRole("region", { name: title, exact: true }).locator("p").first();
const settled = async (page) => {
  await page.waitForFunction(() => {
    const main = document.querySelector("main");
    return (
      main &&
      main.querySelectorAll("[aria-busy=true], .animate-pulse").length === 0 &&
      document.querySelector("svg.recharts-surface")
    );
  });
};

async function load(url, runs = 7) {
  const [lcp, cls, js] = [[], [], []];
  for (let i = 0; i < runs; i++) {
    const { context, page } = await fresh();
    let bytes = 0;
    page.on("requestfinished", async (request) => {
      if (request.resourceType() === "script") bytes += (await request.sizes()).responseBodySize;
    });
    await page.goto(url);
    await settled(page);
    await page.waitForLoadState("networkidle").catch(() => undefined);
    const seen = await page.evaluate(() => window.measured);
    lcp.push(seen.lcp);
    cls.push(seen.cls);
    js.push(bytes / 1000);
    await context.close();
  }
  report("largest contentful paint, cold, median", quantile(lcp, 0.5), "ms", 1_500);
  report("cumulative layout shift, worst", Math.max(...cls), "", 0.02);
  report("JavaScript received for the first view", Math.max(...js), "KB", 280);
}

async function live(url, posts = 60) {
  const { context, page } = await fresh();
  await page.goto(url);
  await settled(page);
  await page
    .getByText(/^Live, /)
    .first()
    .waitFor();
  const took = [];
  for (let i = 0; i < posts; i++) {
    const before = Number((await figure(page, "Messages").getAttribute("title")).replaceAll(",", ""));
    const seen = page.evaluate(
      (wanted) =>
        new Promise((resolve) => {
          const element = [...document.querySelectorAll("section")]
            .find((s) => s.getAttribute("aria-label") === "Messages")
            ?.querySelector("p");
          const look = () => {
            const isSeen = Number(element?.title.replaceAll(",", "")) >= wanted;
            if (isSeen) resolve(Date.now());
            return isSeen;
          };
          if (look()) return;
          const observer = new MutationObserver(() => look() && observer.disconnect());
          observer.observe(element, { attributes: true, childList: true, characterData: true, subtree: true });
        }),
      before + 1,
    );
    const posted = Date.now();
    await post(url, [
      { agent_id: "measured", message_type: "user_message", timestamp: new Date().toISOString(), content: `m${i}` },
    ]);
    took.push((await seen) - posted);
    await page.waitForTimeout(100 + Math.random() * 700);
  }
  report("POST to seen on the overview, p50", quantile(took, 0.5), "ms", 500);
  report("POST to seen on the overview, p95", quantile(took, 0.95), "ms", 1_000);
  await context.close();
}

/** Keys and clicks while 30 days of 200 agents are shown. */
async function interact(url) {
  const { context, page } = await fresh();
  await page.goto(`${url}/?range=30d`);
  await settled(page);
  for (const name of ["Errors", "Error rate", "Cost", "Messages", "Last seen"]) {
    await page.getByRole("button", { name, exact: true }).first().click();
    await page.waitForTimeout(150);
  }
  await page.getByRole("button", { name: /^Time range/ }).click();
  await page.getByRole("button", { name: "Last 7 days" }).click();
  await settled(page);
  await page.getByRole("button", { name: "Agents: All agents" }).click();
  await page.keyboard.type("support", { delay: 60 });
  await page.keyboard.press("Escape");
  await page.getByRole("link", { name: "Agents" }).first().click();
  await page.waitForTimeout(500);
  const { inp } = await page.evaluate(() => window.measured);
  report("interaction to next paint, worst, 30 days × 200 agents", inp, "ms", 150);
  await context.close();
}

async function large(url, agents) {
  const { context, page } = await fresh();
  let largest = 0;
  page.on("requestfinished", async (request) => {
    const { responseBodySize } = await request.sizes().catch(() => ({ responseBodySize: 0 }));
    largest = Math.max(largest, responseBodySize / 1e6);
  });
  await page.goto(`${url}/?range=30d`);
  await settled(page);
  const [ready, firstByte] = await page.evaluate(() => [
    performance.now(),
    performance.getEntriesByType("navigation")[0].responseStart,
  ]);
  report(`overview of ${agents} agents × 30 days, from the first byte`, ready - firstByte, "ms", 2_000);
  await page.getByRole("button", { name: "Agents: All agents" }).click();
  await page.getByPlaceholder("Search agents").waitFor();
  const took = [];
  for (const key of "bot-0042") {
    const answered = page.waitForResponse((response) => response.url().includes("/api/v1/agents?"));
    const begun = performance.now();
    await page.keyboard.type(key);
    await answered;
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    took.push(performance.now() - begun);
  }
  report("agent search, per key stroke, median", quantile(took, 0.5), "ms", 100);
  report("agent search, per key stroke, slowest", Math.max(...took), "ms");
  report("largest answer", largest, "MB", 1);
  await context.close();
}

/** Whether a page that is left open grows. */
async function soak(url, seconds, rate = 100) {
  const { context, page } = await fresh();
  const client = await context.newCDPSession(page);
  const heap = async () => {
    await client.send("HeapProfiler.collectGarbage");
    return (await client.send("Runtime.getHeapUsage")).usedSize / 1e6;
  };
  await page.goto(url);
  await settled(page);
  const until = Date.now() + seconds * 1_000;
  const samples = [];
  let next = Date.now();
  let i = 0;
  while (Date.now() < until) {
    const events = Array.from({ length: rate / 4 }, () => ({
      agent_id: `soak-${i++ % 12}`,
      message_type: i % 20 === 0 ? "error" : "user_message",
      timestamp: new Date().toISOString(),
      content: `event ${i}`,
    }));
    await post(url, events);
    if (samples.length === 0 || Date.now() > samples.at(-1).at + (seconds * 1_000) / 12)
      samples.push({ at: Date.now(), mb: await heap() });
    next += 250;
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, next - Date.now())));
  }
  const warm = samples.slice(Math.floor(samples.length / 3)).map((s) => s.mb);
  const half = Math.floor(warm.length / 2);
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  report(`heap of the page, ${rate} events/s for ${seconds} s, at the end`, samples.at(-1).mb, "MB");
  report("its growth between the halves after warming up", mean(warm.slice(half)) / mean(warm.slice(0, half)), "×", 1.1);
  await context.close();
}

try {
  if (wants("load") || wants("live") || wants("soak")) {
    const server = await serve();
    demo(server.url, "--agents", "12", "--days", "30");
    if (wants("load")) await load(server.url);
    if (wants("live")) await live(server.url);
    const soaking = asked.find((a) => a.startsWith("soak="));
    if (soaking) await soak(server.url, Number(soaking.slice(5)));
    await server.stop();
  }
  if (wants("interact")) {
    const server = await serve();
    demo(server.url, "--agents", "200", "--days", "30", "--events-per-day", "30");
    await interact(server.url);
    await server.stop();
  }
  if (wants("large")) {
    const server = await serve();
    demo(server.url, "--agents", "10000", "--days", "30", "--events-per-day", "1");
    await large(server.url, 10_000);
    await server.stop();
  }
} finally {
  await browser.close();
}
process.exitCode = failed ? 1 : 0;
