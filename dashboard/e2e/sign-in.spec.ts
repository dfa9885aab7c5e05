/** Where keys are required: nothing is shown before a key with the scope `read` has come in, nothing after the sign-out. */
import { expect, test } from "./fixtures.ts";
import { Server } from "./server.ts";

test("a read key opens the dashboard once, and signing out closes it", async ({ page }) => {
  const server = new Server(["--require-keys"]);
  try {
    await server.start();
    const [read, ingest] = [server.key("read"), server.key("ingest")];
    await page.goto(`${server.url}/pipeline`);
    await expect(page.getByRole("heading", { name: "Sign in to Agent Tally" })).toBeVisible();
    await page.getByLabel("API key").fill(ingest);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("alert")).not.toBeEmpty();
    await page.getByLabel("API key").fill(read);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("heading", { name: "From accepted to shown" })).toBeVisible();
    await page.reload();
    await expect(page.getByRole("heading", { name: "From accepted to shown" })).toBeVisible();
    expect(await page.evaluate(() => document.cookie)).toBe("");
    await page.getByRole("button", { name: "Sign out" }).click();
    await expect(page.getByRole("heading", { name: "Sign in to Agent Tally" })).toBeVisible();
  } finally {
    await server.remove();
  }
});
