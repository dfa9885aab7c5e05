/** One build, served from elsewhere: the API is on another origin, which the page's `agent-tally-api` names. */
import type { Page } from "@playwright/test";
import { expect, test } from "./fixtures.ts";
import { PageServer } from "./page-server.ts";
import { Server } from "./server.ts";

async function withBoth(options: readonly string[], use: (pages: PageServer, api: Server) => Promise<void>): Promise<void> {
  const pages = new PageServer();
  await pages.start();
  const api = new Server([...options, "--cors-origins", `${pages.url()},${pages.url("localhost")}`]);
  try {
    await api.start();
    pages.api = api.url;
    await use(pages, api);
  } finally {
    await api.remove();
    await pages.stop();
  }
}

const event = (text: string) => ({
  agent_id: "far-agent",
  message_type: "user_message",
  timestamp: new Date().toISOString(),
  content: text,
});
const messages = (page: Page) => page.getByRole("region", { name: "Messages", exact: true }).locator("p").first();

/** Addresses of all that the page asks for, without what comes from its own origin. */
function askedElsewhere(page: Page, own: string): string[] {
  const asked: string[] = [];
  page.on("request", (request) => {
    if (!request.url().startsWith(own)) asked.push(request.url());
  });
  return asked;
}

test("a page of another origin shows the numbers and the events of its API as they come", async ({ page }) => {
  await withBoth([], async (pages, api) => {
    await api.post(event("the first"), event("the second"));
    const asked = askedElsewhere(page, pages.url());
    await page.goto(pages.url());
    await expect(messages(page)).toHaveAttribute("title", "2");
    await expect(page.getByText(/^Live, /).first()).toBeVisible();
    await api.post(event("the third"));
    await expect(messages(page)).toHaveAttribute("title", "3");
    await page.goto(`${pages.url()}/events`);
    await expect(page.getByText("the third")).toBeVisible();
    await expect(page.getByText(/^Live, /).first()).toBeVisible();
    await api.post(event("the fourth"));
    await expect(page.getByText("the fourth")).toBeVisible();
    await expect(page.getByRole("link", { name: "API" })).toHaveAttribute("href", `${api.url}/docs`);
    expect(asked.filter((url) => !url.startsWith(api.url))).toEqual([]);
    expect(asked.some((url) => url.startsWith(`${api.url}/api/v1/stream`))).toBe(true);
  });
});

test("before the first event it says how to post to the API, not to the page", async ({ page }) => {
  await withBoth([], async (pages, api) => {
    await page.goto(pages.url());
    await expect(page.locator("pre")).toContainText(`${api.url}/api/v1/agents/my-agent/events`);
  });
});

test("the sign-in works from another origin of the same site", async ({ page, context }) => {
  await withBoth(["--require-keys"], async (pages, api) => {
    const key = api.key("read");
    const asked = askedElsewhere(page, pages.url());
    await page.goto(`${pages.url()}/pipeline`);
    await page.getByLabel("API key").fill(key);
    expect(asked.filter((url) => url.includes("/stream"))).toEqual([]);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("heading", { name: "From accepted to shown" })).toBeVisible();
    await expect(page.getByText(/^Live, /).first()).toBeVisible();
    await page.reload();
    await expect(page.getByRole("heading", { name: "From accepted to shown" })).toBeVisible();
    await expect(page.getByText(/^Live, /).first()).toBeVisible();
    expect((await context.cookies()).map(({ httpOnly, sameSite }) => ({ httpOnly, sameSite }))).toEqual([
      { httpOnly: true, sameSite: "Strict" },
    ]);
    await page.getByRole("button", { name: "Sign out" }).click();
    await expect(page.getByRole("heading", { name: "Sign in to Agent Tally" })).toBeVisible();
  });
});

test("a page of another site, where the browser does not keep the sign-in, says so", async ({ page, context }) => {
  await withBoth(["--require-keys"], async (pages, api) => {
    const key = api.key("read");
    await page.goto(pages.url("localhost"));
    await page.getByLabel("API key").fill(key);
    await page.getByRole("button", { name: "Sign in" }).click();
    await expect(page.getByRole("alert")).toContainText("this browser does not keep the sign-in");
    await expect(page.getByRole("alert")).toContainText("the same site as the server");
    expect(await context.cookies()).toEqual([]);
  });
});

test("an API that does not know the page's origin is named as one that cannot be reached", async ({ page, faults }) => {
  await withBoth([], async (_, api) => {
    const stranger = new PageServer();
    await stranger.start();
    stranger.api = api.url;
    try {
      await page.goto(stranger.url());
      await expect(page.getByText(/the server cannot be reached/).first()).toBeVisible();
      await expect(page.getByText(/^Offline/).first()).toBeVisible();
      // A page that is left asks no more: what the browser has said until then of refused answers is what this test is about.
      await page.goto("about:blank");
      expect(faults.length).toBeGreaterThan(0);
      faults.splice(0, faults.length, ...faults.filter((fault) => !fault.includes("blocked by CORS policy")));
    } finally {
      await stranger.stop();
    }
  });
});
