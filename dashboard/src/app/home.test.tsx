import { expect, test, vi } from "vitest";
import { FakeApi } from "@/testing/api.ts";
import { agent, agentsPage, eventsAnswer, kpisAnswer, seriesAnswer, sessionAnswer, summaryAnswer } from "@/testing/examples.ts";
import { show } from "@/testing/render.tsx";
import { Home } from "./home.tsx";

async function open(isRequired = false) {
  const api = new FakeApi({
    "GET /api/v1/agents": agentsPage([]),
    "GET /api/v1/session": sessionAnswer({ is_required: isRequired }),
    "GET /api/v1/dashboard/kpis": kpisAnswer(),
    "GET /api/v1/metrics/series": seriesAnswer({ calls: 2, messages: 1 }),
    "GET /api/v1/metrics/summary": summaryAnswer(),
    "GET /api/v1/events": eventsAnswer([]),
  });
  return { ...(await show(<Home />)), api };
}

test("a server without events shows how to post one to this very address, in three languages", async () => {
  const { screen } = await open();
  const code = () => screen.container.querySelector("pre")?.textContent;
  await expect.element(screen.getByRole("heading", { name: "No agent has posted yet" })).toBeVisible();
  for (const [language, begins] of [
    ["curl", "curl "],
    ["Python", "import json"],
    ["TypeScript", "const event"],
  ] as const) {
    await screen.getByRole("button", { name: language, exact: true }).click();
    await expect.poll(code).toContain(`${location.origin}/api/v1/agents/my-agent/events`);
    expect(code()?.startsWith(begins)).toBe(true);
    expect(code()).not.toContain("Bearer");
  }
  const write = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
  await screen.getByRole("button", { name: "Copy" }).click();
  expect(write).toHaveBeenCalledExactlyOnceWith(code());
});

test("where keys are required each of them names the key", async () => {
  const { screen } = await open(true);
  for (const language of ["curl", "Python", "TypeScript"]) {
    await screen.getByRole("button", { name: language, exact: true }).click();
    await expect.element(screen.getByText(/Bearer <a key with the scope ingest>/)).toBeVisible();
  }
});

test("the first event brings the overview, for good", async () => {
  const { screen, api, refresh } = await open();
  await expect.element(screen.getByRole("heading", { name: "No agent has posted yet" })).toBeVisible();
  api.set({ "GET /api/v1/agents": agentsPage([agent("my-agent")]) });
  await refresh();
  await expect.element(screen.getByRole("region", { name: "Traffic and errors" })).toBeVisible();
  await expect.element(screen.getByRole("link", { name: "my-agent" }).first()).toBeVisible();
  api.set({ "GET /api/v1/agents": agentsPage([]) });
  await refresh();
  await expect.element(screen.getByRole("heading", { name: "Overview" })).toBeInTheDocument();
});
