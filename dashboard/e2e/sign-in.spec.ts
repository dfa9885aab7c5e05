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

test("a session that may only read is told why it cannot redrive", async ({ page }) => {
  const server = new Server(["--require-keys"]);
  try {
    await server.start();
    const [read, ingest] = [server.key("read"), server.key("ingest", "read")];
    const as = { authorization: `Bearer ${ingest}`, "content-type": "application/json" };
    const event = { agent_id: "a", event_id: "e", message_type: "error", timestamp: new Date(Date.now() - 5_000).toISOString() };
    let receipt = "";
    for (const content of ["first", "second"]) {
      const body = JSON.stringify([{ ...event, content }]);
      ({ receipt } = await server.json<{ receipt: string }>("/api/v1/events", { method: "POST", headers: as, body }));
      await server.json(`/api/v1/receipts/${receipt}?wait_ms=10000`, { headers: as });
    }
    await page.goto(`${server.url}/pipeline?dead=${receipt}`);
    await page.getByLabel("API key").fill(read);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Redrive" }).click();
    await expect(page.getByRole("dialog").getByRole("alert")).toHaveText(/may not redrive/);
  } finally {
    await server.remove();
  }
});
