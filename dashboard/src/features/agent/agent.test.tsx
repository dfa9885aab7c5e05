import { describe, expect, test } from "vitest";
import { DAY } from "@/lib/range.ts";
import { FakeApi, type Given, refusal } from "@/testing/api.ts";
import {
  agent,
  agentAnswer,
  agentsPage,
  ago,
  conversationsAnswer,
  errorGroup,
  errorsAnswer,
  kpisAnswer,
  seriesAnswer,
  summaryAnswer,
} from "@/testing/examples.ts";
import { tryPanelStates } from "@/testing/panel-states.tsx";
import { show } from "@/testing/render.tsx";
import { Agent } from "./agent.tsx";

const ROUTE = "/agents/$agentId";

const rest = (): Given => ({
  "GET /api/v1/agents/*": ({ parts: [id = ""] }) =>
    agentAnswer(id, { status: "degraded", status_rule: "errors at 7 % of messages" }),
  "GET /api/v1/agents": agentsPage([agent("support-eu")]),
  "GET /api/v1/dashboard/kpis": kpisAnswer(),
  "GET /api/v1/metrics/series": seriesAnswer({ calls: 3, messages: 2, errors: 1 }),
  "GET /api/v1/metrics/summary": summaryAnswer({ tools: [{ tool: "weather", calls: 3, response_time_ms: 300 }] }),
  "GET /api/v1/errors": errorsAnswer([errorGroup("g-1")]),
  "GET /api/v1/conversations": conversationsAnswer([]),
});

test("its page says how it is and by which rule, whatever characters its id has", async () => {
  const api = new FakeApi(rest());
  const { screen } = await show(<Agent />, `/agents/${encodeURIComponent("team/a:b@c")}`, ROUTE);
  await expect.element(screen.getByRole("heading", { name: "team/a:b@c", level: 1 })).toBeVisible();
  await expect.element(screen.getByText(/errors at 7 % of messages/)).toBeVisible();
  expect(api.of("GET /api/v1/agents/*")[0]?.parts).toEqual(["team/a:b@c"]);
  expect(api.of("GET /api/v1/errors")[0]?.parameters.get("agents")).toBe("team/a:b@c");
});

test("a tool leads to its calls", async () => {
  new FakeApi(rest());
  const { screen, search } = await show(<Agent />, "/agents/support", ROUTE);
  await screen.getByRole("region", { name: "Tools", exact: true }).getByRole("button", { name: "weather" }).click();
  await expect.poll(search).toMatchObject({ agents: "support", filter: "tool:weather" });
});

test("one that nobody has heard of says so, offers similar names, and is there with its first event", async () => {
  const api = new FakeApi({ ...rest(), "GET /api/v1/agents/*": refusal(404, "no such agent") });
  const { screen, refresh } = await show(<Agent />, "/agents/supprt", ROUTE);
  await expect.element(screen.getByRole("heading", { name: "No agent called supprt has posted anything" })).toBeVisible();
  await expect
    .element(screen.getByRole("region", { name: "Similar names" }).getByRole("link", { name: /support-eu/ }))
    .toBeVisible();
  api.set(rest());
  await refresh();
  await expect.element(screen.getByRole("heading", { name: "supprt", level: 1 })).toBeVisible();
});

describe("the tools", () => {
  tryPanelStates({
    page: () => <Agent />,
    url: "/agents/support",
    route: ROUTE,
    panel: "Tools",
    question: "GET /api/v1/metrics/summary",
    answer: () => summaryAnswer({ tools: [{ tool: "weather", calls: 3, response_time_ms: 300 }] }),
    seen: "weather",
    rest,
    empty: { "it called none": { answer: summaryAnswer, says: "It called no tools in this range." } },
  });
});

describe("the errors", () => {
  tryPanelStates({
    page: () => <Agent />,
    url: "/agents/support",
    route: ROUTE,
    panel: "Errors by type",
    question: "GET /api/v1/errors",
    answer: () => errorsAnswer([errorGroup("g-1")]),
    seen: "timeout",
    rest,
    empty: { "nothing went wrong": { answer: () => errorsAnswer([]), says: "No errors in this range." } },
  });
});

test("where the last event lies before the range, a panel offers to go there", async () => {
  new FakeApi({ ...rest(), "GET /api/v1/agents/*": agentAnswer("support", { last_seen: ago(40 * DAY) }) });
  const { screen, search } = await show(<Agent />, "/agents/support", ROUTE);
  await screen.getByRole("region", { name: "Recent conversations" }).getByRole("button", { name: "Go there" }).click();
  await expect.poll(() => search().to).toBeDefined();
});
