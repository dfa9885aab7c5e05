/** The demo's fleet on a server that all tests of a run share, and how a page is opened on it. */
import { test as base, expect, type Page } from "@playwright/test";
import { type Ledger, Server } from "./server.ts";

export interface Fleet {
  server: Server;
  ledger: Ledger;
}

export const test = base.extend<{ open: (path: string) => Promise<Page>; faults: string[] }, { fleet: Fleet }>({
  fleet: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads the pattern
    async ({}, use) => {
      const server = new Server();
      await server.start();
      const ledger = server.demo("--agents", "12", "--days", "8");
      await use({ server, ledger });
      await server.remove();
    },
    { scope: "worker", timeout: 180_000 },
  ],

  /** What the page complained about: faults of scripts, and anything that its security policy refused. */
  faults: [
    async ({ page }, use) => {
      const faults: string[] = [];
      page.on("pageerror", (error) => faults.push(error.message));
      page.on("console", (message) => {
        if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
      });
      await use(faults);
      expect(faults).toEqual([]);
    },
    { auto: true },
  ],

  open: async ({ page, fleet }, use) => {
    await use(async (path) => {
      await page.goto(fleet.server.url + path);
      return page;
    });
  },
});

export { expect };
