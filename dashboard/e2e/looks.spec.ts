/** What every page must be in every look: without violations, without faults, without a sideways scroll. Keeps screenshots. */
import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "./fixtures.ts";
import { PAGES } from "./pages.ts";

const SIZES = [
  { width: 1440, height: 900 },
  { width: 360, height: 740 },
];

for (const { name, path } of PAGES) {
  for (const theme of ["light", "dark"] as const) {
    test(`${name} can be used by everybody, ${theme}`, async ({ page, open, fleet }) => {
      await page.emulateMedia({ colorScheme: theme });
      for (const size of SIZES) {
        await page.setViewportSize(size);
        await open(path(fleet.ledger));
        await settled(page);
        const found = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]).analyze();
        expect(found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`)).toEqual([]);
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        expect(overflow, "sideways scroll").toBe(0);
        await page.screenshot({ path: `test-results/screenshots/${name}-${size.width}-${theme}.png`, fullPage: true });
      }
    });
  }
}

/** Nothing loads any more. */
async function settled(page: import("@playwright/test").Page): Promise<void> {
  await expect(page.locator("main")).toBeVisible();
  await expect(page.locator("main [aria-busy=true]")).toHaveCount(0);
  await expect(page.locator("main .animate-pulse")).toHaveCount(0);
}
