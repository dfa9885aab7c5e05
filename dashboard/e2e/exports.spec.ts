/** What leaves the page: every table as CSV, every chart as CSV and PNG, a conversation and the live events too. */
import { readFileSync } from "node:fs";
import type { Locator, Page } from "@playwright/test";
import { expect, test } from "./fixtures.ts";
import { firstAgent, PAGES } from "./pages.ts";

// Up to ten panels, two files of each.
test.describe.configure({ timeout: 120_000 });

for (const { name, path } of PAGES.filter((each) => each.name !== "events")) {
  test(`every panel of ${name} can be saved`, async ({ page, open, fleet }) => {
    await open(path(fleet.ledger));
    await expect(page.locator("main [aria-busy=true]")).toHaveCount(0);
    await expect(page.locator("main .animate-pulse")).toHaveCount(0);
    const buttons = page.getByRole("button", { name: /: export$/ });
    await expect(buttons.first()).toBeVisible();
    const titles = await buttons.evaluateAll((all) =>
      all.map((each) => each.getAttribute("aria-label")?.replace(": export", "")),
    );
    for (const title of titles) {
      const panel = page.getByRole("region", { name: title ?? "", exact: true });
      const { file, rows } = await savedCsv(panel, "Save as CSV");
      expect(file).toMatch(new RegExp(`^agent-tally-${slug(title)}-\\d{4}-\\d\\d-\\d\\d\\.csv$`));
      const [head = [], ...body] = rows;
      expect(head.length, title).toBeGreaterThan(1);
      expect(
        body.every((row) => row.length === head.length),
        title,
      ).toBe(true);
      const shown = await shownRows(panel);
      expect(body, title).toHaveLength(shown.rows);
      if (shown.heads) expect(head, title).toEqual(shown.heads);
      if (await panel.getByRole("button", { name: `${title}: show as a table` }).count()) await tryPng(page, panel, title ?? "");
    }
  });
}

test("a conversation is saved with all its events, as CSV and as JSON", async ({ page, open, fleet }) => {
  const id = `saved-${Math.random().toString(36).slice(2)}`;
  const common = { agent_id: "saver", conversation_id: id, message_type: "user_message" };
  const at = (seconds: number) => new Date(Date.now() - 60_000 + seconds * 1_000).toISOString();
  await fleet.server.post(
    { ...common, timestamp: at(0), content: 'a "quoted", text\nof two lines' },
    { ...common, timestamp: at(1), content: "=1+1", metadata: { deep: [1] } },
  );
  await open(`/conversations/${id}?agent=saver`);
  const panel = page.getByRole("region", { name: "Timeline" });
  const { rows } = await savedCsv(panel, "Save as CSV", "Save the conversation");
  const content = rows[0]?.indexOf("Content") ?? -1;
  expect(rows.slice(1).map((row) => row[content])).toEqual(['a "quoted", text\nof two lines', "'=1+1"]);
  const json = JSON.parse((await saved(panel, "Save as JSON", "Save the conversation")).content.toString());
  expect(json.events.map((event: { content: string }) => event.content)).toEqual(['a "quoted", text\nof two lines', "=1+1"]);
  expect(json.events[1].metadata).toEqual({ deep: [1] });
});

test("the live events are saved as they are filtered", async ({ page, open, fleet }) => {
  const agent = firstAgent(fleet.ledger);
  await open(`/events?range=7d&filter=agent:${agent}+type:error`);
  await expect(page.getByRole("grid").locator("tr[data-index]").first()).toBeVisible();
  const loaded = Number((await page.getByText(/^[\d,]+ loaded$/).textContent())?.replace(/\D/g, ""));
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save what is shown as CSV" }).click();
  const rows = parseCsv(readFileSync(await (await download).path(), "utf8"));
  const [head = [], ...body] = rows;
  expect(body).toHaveLength(loaded);
  expect(new Set(body.map((row) => `${row[head.indexOf("Agent")]} ${row[head.indexOf("Type")]}`))).toEqual(
    new Set([`${agent} error`]),
  );
});

test("what a client calls an error is no formula in any file", async ({ page, open, fleet }) => {
  const timestamp = new Date().toISOString();
  const error = { agent_id: "formulas", conversation_id: "=c", message_type: "error", error_type: "=1+1", timestamp };
  await fleet.server.post(
    { ...error, error_details: '=HYPERLINK("evil","click")' },
    { ...error, error_type: "@SUM", error_details: "+1", content: "-1" },
  );
  const files: string[][][] = [];
  await open("/errors?range=1h&agents=formulas");
  files.push((await savedCsv(page.getByRole("region", { name: "By type and message" }), "Save as CSV")).rows);
  await open("/?range=1h&agents=formulas");
  files.push((await savedCsv(page.getByRole("region", { name: "Latest errors" }), "Save as CSV")).rows);
  await open("/agents/formulas?range=1h");
  files.push((await savedCsv(page.getByRole("region", { name: "Errors by type" }), "Save as CSV")).rows);
  await open("/events?range=1h&filter=agent:formulas");
  await expect(page.getByRole("grid").locator("tr[data-index]")).toHaveCount(2);
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save what is shown as CSV" }).click();
  files.push(parseCsv(readFileSync(await (await download).path(), "utf8")));
  for (const rows of files) {
    const cells = rows.flat();
    expect(cells).toContain("'=1+1");
    expect(cells).toContain("'@SUM");
    expect(cells.filter((cell) => /^[=+\-@\t\r]/.test(cell))).toEqual([]);
  }
});

async function saved(panel: Locator, item: string, menu?: string): Promise<{ file: string; content: Buffer }> {
  await panel.getByRole("button", { name: menu ?? /: export$/ }).click();
  const download = panel.page().waitForEvent("download");
  await panel.getByRole("button", { name: item }).click();
  const file = await download;
  return { file: file.suggestedFilename(), content: readFileSync(await file.path()) };
}

async function savedCsv(panel: Locator, item: string, menu?: string): Promise<{ file: string; rows: string[][] }> {
  const { file, content } = await saved(panel, item, menu);
  return { file, rows: parseCsv(content.toString()) };
}

/** How many rows the panel's table has, and its heads where the file has the same. */
async function shownRows(panel: Locator): Promise<{ rows: number; heads?: string[] }> {
  const turn = panel.getByRole("button", { name: /: show as a table$/ });
  const isChart = (await turn.count()) > 0;
  // Without data there is nothing to turn.
  if (isChart && (await turn.isDisabled())) return { rows: 0 };
  if (isChart) await turn.click();
  // A long list draws only what is in sight, and says how many there are, its head included.
  const all = await panel.locator("table[aria-rowcount]").evaluateAll((tables) => tables.map((each) => each.ariaRowCount));
  const rows = all[0] ? Number(all[0]) - 1 : await panel.locator("tbody tr:not([aria-hidden]), ol > li").count();
  if (!isChart) return { rows };
  const heads = await panel.getByRole("columnheader").allInnerTexts();
  await turn.click();
  return { rows, heads };
}

/** A picture of some size that shows something: its title, lines, colours. */
async function tryPng(page: Page, panel: Locator, title: string): Promise<void> {
  await expect(panel.locator("svg.recharts-surface, svg[data-chart]").first()).toBeVisible();
  const { file, content } = await saved(panel, "Save as PNG");
  expect(file).toMatch(new RegExp(`^agent-tally-${slug(title)}-.*\\.png$`));
  expect(content.subarray(0, 8).toString("hex")).toBe("89504e470d0a1a0a");
  const seen = await page.evaluate(
    async (bytes) => {
      const picture = await createImageBitmap(new Blob([Uint8Array.from(bytes)], { type: "image/png" }));
      const canvas = new OffscreenCanvas(picture.width, picture.height);
      const context = canvas.getContext("2d");
      if (!context) throw new Error("no canvas");
      context.drawImage(picture, 0, 0);
      const { data } = context.getImageData(0, 0, picture.width, picture.height);
      return { width: picture.width, height: picture.height, colors: new Set(new Uint32Array(data.buffer)).size };
    },
    [...content],
  );
  expect(seen.width, title).toBeGreaterThan(300);
  expect(seen.height, title).toBeGreaterThan(150);
  expect(seen.colors, title).toBeGreaterThan(20);
}

function slug(title: string | undefined): string {
  return (title ?? "").toLowerCase().replace(/[^a-z0-9]+/g, "-");
}

/** RFC 4180. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [[]];
  const cell = /("(?:[^"]|"")*"|[^,\r\n]*)(,|\r\n|$)/y;
  while (cell.lastIndex < text.length) {
    const [, raw = "", end] = cell.exec(text) ?? [];
    if (end === undefined) throw new Error(`no CSV at ${cell.lastIndex}: ${text.slice(cell.lastIndex, cell.lastIndex + 50)}`);
    rows.at(-1)?.push(raw.startsWith('"') ? raw.slice(1, -1).replaceAll('""', '"') : raw);
    if (end === "\r\n") rows.push([]);
  }
  return rows.filter((row) => row.length > 0);
}
