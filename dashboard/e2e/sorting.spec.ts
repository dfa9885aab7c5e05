/** Every column that can be sorted by, in every table: a click orders the rows by it, a second one the other way round. */
import type { Locator } from "@playwright/test";
import { expect, test } from "./fixtures.ts";

interface SortedRow {
  name: string;
  value: string | number | null;
}

const TABLES = [
  { name: "the agents", path: "/agents?range=7d", panel: "Agents", columns: 9 },
  { name: "the overview's agents", path: "/?range=7d", panel: "Agents", columns: 7 },
  { name: "the groups of errors", path: "/errors?range=7d", panel: "By type and message", columns: 4 },
] as const;

// Each column is asked for twice.
test.describe.configure({ timeout: 120_000 });

for (const { name, path, panel, columns } of TABLES) {
  test(`${name} are ordered by each column`, async ({ page, open }) => {
    await open(path);
    const table = page.getByRole("region", { name: panel, exact: true }).getByRole("table");
    await expect(table.locator("tbody tr").first()).toBeVisible();
    const heads = table.locator("thead th:visible").filter({ has: page.locator("button") });
    await expect(heads).toHaveCount(columns);
    for (let i = 0; i < columns; i++) {
      const head = heads.nth(i);
      const title = (await head.textContent()) ?? "";
      for (const direction of ["descending", "ascending"] as const) {
        await turn(head, direction);
        // The rows are compared with themselves: an answer that comes late may still fill in values.
        await expect(async () => {
          const rows = await rowsOf(head);
          expect(rows, `${title}, ${direction}`).toEqual(ordered(rows, direction));
          expect(rows.filter(({ value }) => value !== null).length, `${title} has something to sort by`).toBeGreaterThan(1);
          expect(new Set(rows.map(({ name }) => name)).size, "each row once").toBe(rows.length);
        }).toPass({ timeout: 10_000 });
      }
      await expect(table.locator("th[aria-sort]"), "one column at a time").toHaveCount(1);
    }
  });
}

/** Clicks until the column says that it is sorted so: numbers begin with the largest, names with the first. */
async function turn(head: Locator, direction: "ascending" | "descending"): Promise<void> {
  const said = () => head.getAttribute("aria-sort");
  for (let clicks = 0; clicks < 2 && (await said()) !== direction; clicks++) {
    const before = await said();
    await head.getByRole("button").click();
    await expect.poll(said).not.toBe(before);
  }
  expect(await said()).toBe(direction);
}

/** Each row's name and its exact value in the head's column, from top to bottom. */
function rowsOf(head: Locator): Promise<SortedRow[]> {
  return head.evaluate((element) => {
    const column = (element as HTMLTableCellElement).cellIndex;
    const exactOf = (cell: HTMLTableCellElement): string | number | null => {
      const time = cell.querySelector("time");
      if (time) return Date.parse(time.dateTime);
      const exact = cell.querySelector<HTMLElement>("span[title]:not(th *)")?.title;
      // Like "1,234", "840.5 ms" or "4 of 5".
      if (exact !== undefined) {
        const number = /-?[0-9.]+(e[-+]?\d+)?/.exec(exact.replaceAll(",", ""))?.[0];
        return exact === "no data" ? null : number === undefined ? exact : Number(number);
      }
      // Agents affected: some by name, the rest as a number.
      const links = cell.querySelectorAll("a");
      if (cell.tagName === "TD" && links.length > 0) return links.length + Number(/\+([\d,]+)$/.exec(cell.textContent)?.[1] ?? 0);
      return cell.textContent.trim();
    };
    const rows = element.closest("table")?.querySelectorAll<HTMLTableRowElement>("tbody tr:not([aria-hidden])") ?? [];
    return [...rows].flatMap((row) => {
      const cell = row.cells[column];
      return cell ? [{ name: (row.cells[0]?.textContent ?? "").trim(), value: exactOf(cell) }] : [];
    });
  });
}

/** What is missing comes last either way. Of equals each table has an order of its own, so rows are compared by their values. */
function ordered(rows: readonly SortedRow[], direction: "ascending" | "descending"): unknown {
  const sign = direction === "ascending" ? 1 : -1;
  const sorted = [...rows].sort(({ value: a }, { value: b }) => {
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return a === b ? 0 : sign * (a < b ? -1 : 1);
  });
  return sorted.map(({ value }, i) => {
    const isAlone = sorted[i - 1]?.value !== value && sorted[i + 1]?.value !== value;
    return isAlone ? sorted[i] : expect.objectContaining({ value });
  });
}
