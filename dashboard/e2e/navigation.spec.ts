/** Every view is a URL; everything can be done by keyboard. */
import { expect, test } from "./fixtures.ts";
import { firstAgent } from "./pages.ts";

test("the scope and the range are in the URL, go along to other pages, and the back button undoes them", async ({
  page,
  open,
  fleet,
}) => {
  const agent = firstAgent(fleet.ledger);
  await open("/");
  await page.getByRole("button", { name: "Time range: Last 24 hours" }).click();
  await page.getByRole("button", { name: "Last 7 days" }).click();
  await expect(page).toHaveURL(/range=7d/);
  await page.getByRole("button", { name: "Agents: All agents" }).click();
  await page.getByPlaceholder("Search agents").fill(agent);
  await page.getByRole("option", { name: agent }).first().click();
  await page.keyboard.press("Escape");
  await expect(page).toHaveURL(new RegExp(`agents=${agent}`));
  await page.getByRole("link", { name: "Errors" }).first().click();
  await expect(page).toHaveURL(new RegExp(`/errors\\?.*agents=${agent}.*range=7d`));
  await page.goBack();
  await page.goBack();
  await expect(page).not.toHaveURL(/agents=/);
  await expect(page).toHaveURL(/range=7d/);
  await page.goBack();
  await expect(page).not.toHaveURL(/range=/);
});

test("a drag on a chart zooms the range", async ({ page, open }) => {
  await open("/?range=7d");
  const chart = page.getByRole("region", { name: "Response time" }).locator("svg.recharts-surface").first();
  const box = await chart.boundingBox();
  if (!box) throw new Error("no chart");
  await page.mouse.move(box.x + box.width * 0.4, box.y + 60);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 60, { steps: 8 });
  await page.mouse.up();
  await expect(page).toHaveURL(/from=.*to=/);
});

test("the keyboard alone leads from the overview to an agent and back", async ({ page, open, fleet }) => {
  const agent = firstAgent(fleet.ledger);
  await open("/");
  await expect(page.getByRole("region", { name: "Messages", exact: true })).toBeVisible();
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  await page.keyboard.press("Control+k");
  await expect(page.getByPlaceholder("Agents, pages, ranges, a receipt …")).toBeFocused();
  await page.keyboard.type(agent);
  await expect(page.getByRole("option", { name: agent }).first()).toBeVisible();
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(new RegExp(`/agents/${agent}`));
  await page.keyboard.press("g");
  await page.keyboard.press("o");
  await expect(page).toHaveURL(/:\d+\/(\?|$)/);
  await page.keyboard.press("3");
  await expect(page).toHaveURL(/range=7d/);
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keyboard shortcuts" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog", { name: "Keyboard shortcuts" })).toBeHidden();
});

test("a chart can be read as a table and saved as CSV and PNG", async ({ page, open }) => {
  await open("/");
  const panel = page.getByRole("region", { name: "Traffic and errors" });
  await panel.getByRole("button", { name: "Traffic and errors: show as a table" }).click();
  await expect(panel.getByRole("columnheader", { name: "Messages" })).toBeVisible();
  await panel.getByRole("button", { name: "Traffic and errors: show as a table" }).click();
  for (const [item, extension] of [
    ["Save as CSV", ".csv"],
    ["Save as PNG", ".png"],
  ] as const) {
    await panel.getByRole("button", { name: "Traffic and errors: export" }).click();
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: item }).click();
    expect((await download).suggestedFilename()).toContain(extension);
  }
});
