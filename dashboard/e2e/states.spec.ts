/** Empty and broken: each panel says so by itself, and the rest of the page stays. */
import { expect, test } from "./fixtures.ts";

test("a panel whose question fails says what, and which request, and can be tried again", async ({ page, open }) => {
  let isBroken = true;
  await page.route("**/api/v1/metrics/series*", (route) =>
    isBroken
      ? route.fulfill({
          status: 503,
          contentType: "application/problem+json",
          headers: { "x-request-id": "r-1" },
          body: JSON.stringify({
            type: "about:blank",
            title: "Service Unavailable",
            status: 503,
            detail: "the store is away",
            request_id: "r-1",
          }),
        })
      : route.continue(),
  );
  await open("/");
  const panel = page.getByRole("region", { name: "Traffic and errors" });
  await expect(panel.getByRole("alert")).toContainText("the store is away");
  await expect(panel.getByRole("alert")).toContainText("r-1");
  await expect(page.getByRole("region", { name: "Messages", exact: true }).locator("p").first()).toHaveAttribute("title", /\d/);
  isBroken = false;
  await panel.getByRole("button", { name: "Try again" }).click();
  await expect(panel.locator("svg.recharts-surface").first()).toBeVisible();
});

test("what cannot be refreshed stays and is marked as old", async ({ page, open, fleet }) => {
  await open("/");
  const panel = page.getByRole("region", { name: "Traffic and errors" });
  await expect(panel.locator("svg.recharts-surface").first()).toBeVisible();
  await page.route("**/api/v1/metrics/series*", (route) => route.fulfill({ status: 500, body: "" }));
  await fleet.server.post({ agent_id: "stale", message_type: "user_message", timestamp: new Date().toISOString(), content: "x" });
  await expect(panel.getByText("Stale")).toBeVisible();
  await expect(panel.locator("svg.recharts-surface").first()).toBeVisible();
});

test("a range without data offers to go where the last is", async ({ page, open }) => {
  await open("/?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z");
  const panel = page.getByRole("region", { name: "Traffic and errors" });
  await panel.getByRole("button", { name: "Go there" }).click();
  await expect(panel.locator("svg.recharts-surface").first()).toBeVisible();
  await expect(page).toHaveURL(/from=20(?!20)/);
});

test("an address that is none of ours says so", async ({ page, open }) => {
  await open("/nowhere");
  await expect(page.getByRole("heading", { name: "There is no such page" })).toBeVisible();
});
