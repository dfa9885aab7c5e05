import { afterEach, expect, test } from "vitest";
import { userEvent } from "vitest/browser";
import { liveClient } from "@/lib/live.ts";
import { FakeApi, type Given, refusal, silence } from "@/testing/api.ts";
import { agent, agentAnswer, agentsPage, receiptAnswer, sessionAnswer } from "@/testing/examples.ts";
import { show } from "@/testing/render.tsx";
import { FakeSource, stubStream } from "@/testing/stream.ts";
import { showOverlay } from "./overlays.ts";
import { Shell } from "./shell.tsx";

const FLEET = ["billing", "search", "support"];
let stop = () => {};

async function open(url = "/", given: Given = {}) {
  stubStream();
  stop = liveClient.start();
  const api = new FakeApi({
    "GET /api/v1/session": sessionAnswer(),
    "GET /api/v1/agents": ({ parameters }) =>
      agentsPage(FLEET.filter((id) => id.includes(parameters.get("q") ?? "")).map((id) => agent(id))),
    "GET /api/v1/agents/*": ({ parts: [id = ""] }) => agentAnswer(id),
    "GET /api/v1/receipts/*": receiptAnswer(),
    ...given,
  });
  const shown = await show(<Shell />, url);
  const path = () => shown.router.state.location.pathname;
  return { ...shown, api, path };
}

afterEach(() => {
  localStorage.clear();
  showOverlay(null);
  liveClient.setPaused(false);
  liveClient.setAllowed(false);
  stop();
});

test("no stream is opened before it is known whether this browser may read", async () => {
  const { screen } = await open("/", { "GET /api/v1/session": silence });
  await expect.element(screen.getByText("Connecting").first()).toBeVisible();
  expect(FakeSource.opened).toEqual([]);
});

test("where a key is required no stream is opened before the sign-in, and one is after it", async () => {
  let isSignedIn = false;
  const { screen } = await open("/", {
    "GET /api/v1/session": () => sessionAnswer({ is_required: true, is_signed_in: isSignedIn }),
    "POST /api/v1/session": () => {
      isSignedIn = true;
      return sessionAnswer({ is_required: true });
    },
  });
  await screen.getByLabelText("API key").fill("at_right");
  expect(FakeSource.opened).toEqual([]);
  await screen.getByRole("button", { name: "Sign in" }).click();
  await expect.element(screen.getByRole("button", { name: "Sign out" })).toBeVisible();
  expect(FakeSource.open).toHaveLength(1);
});

test("whoever is signed out meanwhile is asked again, and the stream is closed", async () => {
  const { screen, api, refresh } = await open("/", { "GET /api/v1/session": sessionAnswer({ is_required: true }) });
  await expect.poll(() => FakeSource.open).toHaveLength(1);
  api.set({ "GET /api/v1/session": sessionAnswer({ is_required: true, is_signed_in: false }) });
  await refresh();
  await expect.element(screen.getByRole("heading", { name: "Sign in to Agent Tally" })).toBeVisible();
  expect(FakeSource.open).toEqual([]);
});

test("where the server does not say whether one may read, the stream is tried all the same", async () => {
  await open("/", { "GET /api/v1/session": refusal(503, "the store is away") });
  await expect.poll(() => FakeSource.open).toHaveLength(1);
});

test("the range is one of four, or days of the calendar, in UTC or by the local clock", async () => {
  const { screen, search } = await open();
  await screen.getByRole("button", { name: "Time range: Last 24 hours" }).click();
  const dialog = screen.getByRole("dialog", { name: "Choose a time range" });
  await expect.element(dialog.getByRole("button", { name: "Last 24 hours" })).toHaveAttribute("aria-pressed", "true");
  await dialog.getByRole("button", { name: "Last 7 days" }).click();
  await expect.poll(() => search().range).toBe("7d");
  await screen.getByRole("button", { name: "Time range: Last 7 days" }).click();
  await dialog.getByRole("radio", { name: /^Local/ }).click();
  await expect.poll(() => search().tz).toBe("local");
  await dialog.getByRole("radio", { name: "UTC" }).click();
  await dialog.getByRole("checkbox", { name: "Compare with before" }).click();
  await expect.poll(() => [search().tz, search().compare]).toEqual([undefined, "off"]);
});

test("two days of the calendar are whole UTC days, both inclusive", async () => {
  const { screen, search } = await open("/?from=2026-03-10T00:00:00.000Z&to=2026-03-10T23:59:59.999Z");
  await screen.getByRole("button", { name: /^Time range: 10 Mar/ }).click();
  const days = screen.getByRole("grid");
  await days.getByRole("button", { name: /March 12th/ }).click();
  await screen.getByRole("button", { name: "Show these days" }).click();
  await expect.poll(() => [search().from, search().to]).toEqual(["2026-03-10T00:00:00.000Z", "2026-03-12T23:59:59.999Z"]);
  await expect.element(screen.getByRole("button", { name: /^Time range: 10 Mar.* – 12 Mar/ })).toBeVisible();
});

test("the agents of the page are found by a part of their names, one or several", async () => {
  const { screen, search } = await open("/");
  await screen.getByRole("button", { name: "Agents: All agents" }).click();
  await screen.getByPlaceholder("Search agents").fill("s");
  await screen.getByRole("option", { name: /search/ }).click();
  await expect.poll(() => search().agents).toBe("search");
  await expect.element(screen.getByRole("option", { name: /billing/ })).not.toBeInTheDocument();
  await screen.getByPlaceholder("Search agents").fill("");
  await screen.getByRole("option", { name: /billing/ }).click();
  await expect.poll(() => search().agents).toBe("search,billing");
  await expect.element(screen.getByRole("button", { name: "Agents: 2 agents" })).toBeVisible();
  expect(FakeSource.last.url).toContain("agents=search%2Cbilling");
  await screen.getByRole("option", { name: /search/ }).click();
  await expect.poll(() => search().agents).toBe("billing");
  await screen.getByRole("button", { name: "All agents", exact: true }).click();
  await expect.poll(() => search().agents).toBeUndefined();
  await screen.getByPlaceholder("Search agents").fill("xyz");
  await expect.element(screen.getByText("No agent’s name contains “xyz”.")).toBeVisible();
});

test("the palette goes to agents, pages, ranges and receipts by a part of what they are called", async () => {
  const { screen, path, search } = await open();
  await expect.element(screen.getByRole("navigation").first()).toBeVisible();
  const input = screen.getByPlaceholder("Agents, pages, ranges, a receipt …");
  const pick = async (text: string, first: string | RegExp) => {
    await userEvent.keyboard("{Control>}k{/Control}");
    await input.fill(text);
    await expect.element(screen.getByRole("option", { selected: true })).toMatchTextContent(first);
    await userEvent.keyboard("{Enter}");
    await expect.element(input).not.toBeInTheDocument();
  };
  await pick("supp", "support");
  expect(path()).toBe("/agents/support");
  await pick("pipe hea", "Pipeline health");
  expect(path()).toBe("/pipeline");
  await pick("30", "Last 30 days");
  await expect.poll(() => search().range).toBe("30d");
  await pick("0-3-7", /Where is the event of receipt 0-3-7/);
  await expect.poll(() => search().find).toBe("0-3-7");
  await userEvent.keyboard("{Control>}k{/Control}");
  await input.fill("nothing at all");
  await expect.element(screen.getByText("Nothing is called that.")).toBeVisible();
});

test("single keys lead to pages and ranges, pause, and show what they do", async () => {
  const { screen, path, search } = await open();
  await expect.element(screen.getByRole("navigation").first()).toBeVisible();
  await userEvent.keyboard("ge");
  await expect.poll(path).toBe("/events");
  await userEvent.keyboard("3");
  await expect.poll(() => search().range).toBe("7d");
  await userEvent.keyboard("l");
  await expect.element(screen.getByRole("button", { name: "Go live" })).toBeVisible();
  await userEvent.keyboard("l");
  await expect.element(screen.getByRole("button", { name: "Pause live updates" })).toBeVisible();
  await userEvent.keyboard("?");
  const dialog = screen.getByRole("dialog", { name: "Keyboard shortcuts" });
  await expect.element(dialog).toBeVisible();
  await userEvent.keyboard("4");
  expect(search().range).toBe("7d");
});

test("single keys can be switched off, and stay off; the palette's keys go on working", async () => {
  const { screen, path } = await open();
  await expect.element(screen.getByRole("navigation").first()).toBeVisible();
  await userEvent.keyboard("?");
  await screen.getByRole("checkbox", { name: /^Single keys work/ }).click();
  await userEvent.keyboard("{Escape}ge");
  await screen.unmount();
  const again = await open();
  await expect.element(again.screen.getByRole("navigation").first()).toBeVisible();
  await userEvent.keyboard("ge");
  expect([path(), again.path()]).toEqual(["/", "/"]);
  await userEvent.keyboard("{Control>}k{/Control}");
  await expect.element(again.screen.getByRole("dialog", { name: "Search and commands" })).toBeVisible();
});

test("keys that are typed into a field are no commands", async () => {
  const { screen, search } = await open();
  await screen.getByRole("button", { name: "Agents: All agents" }).click();
  await screen.getByPlaceholder("Search agents").fill("");
  await userEvent.keyboard("3l?");
  await expect.element(screen.getByPlaceholder("Search agents")).toHaveValue("3l?");
  expect(search().range).toBeUndefined();
  await expect.element(screen.getByRole("button", { name: "Pause live updates" })).toBeVisible();
});
