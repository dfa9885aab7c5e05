/** What happens while a page is open: events come, the server goes and comes back, the viewer pauses. */
import { expect, test } from "./fixtures.ts";
import { Server } from "./server.ts";

const event = (agent: string, type = "user_message") => ({
  agent_id: agent,
  message_type: type,
  timestamp: new Date().toISOString(),
  content: `said ${Math.random()}`,
});
const exact = (page: import("@playwright/test").Page, title: string) =>
  page.getByRole("region", { name: title, exact: true }).locator("p").first();

test("a posted event is shown without a reload", async ({ fleet, open, page }) => {
  await open("/");
  await expect(exact(page, "Messages")).toHaveAttribute("title", /\d/);
  const before = Number((await exact(page, "Messages").getAttribute("title"))?.replaceAll(",", ""));
  await fleet.server.post(event("live-agent"), event("live-agent"), event("live-agent"));
  await expect(exact(page, "Messages")).toHaveAttribute("title", (before + 3).toLocaleString("en"));
});

test("a paused page stands still and catches up", async ({ fleet, open, page }) => {
  await open("/");
  await expect(page.getByText(/^Live, /).first()).toBeVisible();
  const title = await exact(page, "Messages").getAttribute("title");
  const first = Number(title?.replaceAll(",", ""));
  // What it set off is asked again within a second of being shown: so it is paused with a question ahead.
  await fleet.server.post(event("paused-agent"));
  const before = first + 1;
  await expect(exact(page, "Messages")).toHaveAttribute("title", before.toLocaleString("en"));
  await page.getByRole("button", { name: "Pause live updates" }).click();
  await expect(page.getByText(/^Paused, /).first()).toBeVisible();
  await fleet.server.post(event("paused-agent"));
  // A second page that is not paused shows it: so this one has had its chance to be wrong.
  const other = await page.context().newPage();
  await other.goto(fleet.server.url);
  await expect(exact(other, "Messages")).toHaveAttribute("title", (before + 1).toLocaleString("en"));
  await other.close();
  await expect(exact(page, "Messages")).toHaveAttribute("title", before.toLocaleString("en"));
  await page.getByRole("button", { name: "Go live" }).click();
  await expect(exact(page, "Messages")).toHaveAttribute("title", (before + 1).toLocaleString("en"));
});

test("the page says that the server is gone, and goes on when it is back", async ({ page, faults }) => {
  const server = new Server();
  try {
    await server.start();
    await server.post(event("a"));
    await page.goto(server.url);
    await expect(exact(page, "Messages")).toHaveAttribute("title", "1");
    await server.stop();
    await expect(page.getByText(/^Offline, /).first()).toBeVisible();
    await server.start();
    await expect(page.getByText(/^Live, /).first()).toBeVisible({ timeout: 40_000 });
    await server.post(event("a"));
    await expect(exact(page, "Messages")).toHaveAttribute("title", "2");
    // What a browser says of a lost connection is no fault of the page.
    faults.splice(0, faults.length, ...faults.filter((fault) => !/ERR_|Failed to fetch|EventSource/.test(fault)));
  } finally {
    await server.remove();
  }
});

test("a server without events shows how to begin, and jumps to the first event", async ({ page }) => {
  const server = new Server();
  try {
    await server.start();
    await page.goto(server.url);
    await expect(page.getByRole("heading", { name: "No agent has posted yet" })).toBeVisible();
    await page.getByRole("button", { name: "Python" }).click();
    await expect(page.locator("pre")).toContainText(`${server.url}/api/v1/agents/my-agent/events`);
    await server.post(event("my-agent"));
    await expect(exact(page, "Messages")).toHaveAttribute("title", "1");
  } finally {
    await server.remove();
  }
});
