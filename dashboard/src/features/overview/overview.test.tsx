import { describe, expect, test } from "vitest";
import { DAY } from "@/lib/range.ts";
import { FakeApi, type Given } from "@/testing/api.ts";
import { agent, agentsPage, ago, event, eventsAnswer, kpisAnswer, seriesAnswer, summaryAnswer } from "@/testing/examples.ts";
import { tryPanelStates } from "@/testing/panel-states.tsx";
import { show } from "@/testing/render.tsx";
import { Overview } from "./overview.tsx";

const FLEET = [agent("billing", { status: "failing", status_rule: "errors at 60 % of messages" }), agent("support")];

const rest = (): Given => ({
  "GET /api/v1/agents": agentsPage(FLEET),
  "GET /api/v1/dashboard/kpis": kpisAnswer(),
  "GET /api/v1/metrics/series": seriesAnswer({ calls: 3, messages: 2, errors: 1 }),
  "GET /api/v1/metrics/summary": summaryAnswer({ models: [{ model: "gpt-5", calls: 3, tokens: 10, cost_usd: 1 }] }),
  "GET /api/v1/events": eventsAnswer([event({ message_type: "error", error_type: "timeout", error_details: "no answer" })]),
});

test("what needs attention is named first, with the rule that says so", async () => {
  new FakeApi({
    ...rest(),
    "GET /api/v1/agents": agentsPage(FLEET.slice(0, 1), { status_counts: { healthy: 4, degraded: 2, failing: 5, silent: 0 } }),
  });
  const { screen } = await show(<Overview />);
  const first = screen.getByRole("region", { name: "How the agents are" });
  await expect.element(first.getByRole("link", { name: "billing" })).toBeVisible();
  await expect.element(first).toMatchTextContent(/errors at 60 % of messages/);
  await expect.element(first.getByRole("link", { name: "6 more" })).toHaveAttribute("href", "/agents?status=failing,degraded");
});

test("of several chosen agents the newest errors are looked for among everybody's", async () => {
  const errors = ["a-1", "a-2", "a-3"].map((agent_id) =>
    event({ agent_id, message_type: "error", error_details: `of ${agent_id}` }),
  );
  const api = new FakeApi({ ...rest(), "GET /api/v1/events": eventsAnswer(errors) });
  const { screen } = await show(<Overview />, "/?agents=a-1,a-3");
  const list = screen.getByRole("list", { name: "Latest errors" });
  await expect.element(list).toMatchTextContent(/of a-1.*of a-3/);
  await expect.element(list).not.toMatchTextContent(/of a-2/);
  expect(api.of("GET /api/v1/events")[0]?.parameters.get("agent_id")).toBeNull();
});

test("one broken panel leaves the others alone", async () => {
  const { "GET /api/v1/events": _, ...others } = rest();
  new FakeApi({ ...others, "GET /api/v1/events": () => Promise.reject(new TypeError("network")) });
  const { screen } = await show(<Overview />);
  await expect
    .element(screen.getByRole("region", { name: "Latest errors" }).getByRole("alert"))
    .toMatchTextContent(/the server cannot be reached/);
  await expect.element(screen.getByRole("region", { name: "Models" }).getByText("gpt-5")).toBeVisible();
  expect(screen.getByRole("alert").elements()).toHaveLength(1);
});

describe("the models", () => {
  const old = () => ({ "GET /api/v1/agents": agentsPage([agent("a-1", { last_seen: ago(40 * DAY) })]) });
  tryPanelStates({
    page: () => <Overview />,
    url: "/",
    panel: "Models",
    question: "GET /api/v1/metrics/summary",
    answer: () => summaryAnswer({ models: [{ model: "gpt-5", calls: 3, tokens: 10, cost_usd: 1 }] }),
    seen: "gpt-5",
    rest,
    empty: {
      "no event names one": { answer: summaryAnswer, says: "No models in this range." },
      "the last event lies before": { answer: summaryAnswer, rest: old, says: /^No models in this range. The last event came/ },
    },
  });
});

describe("the latest errors", () => {
  tryPanelStates({
    page: () => <Overview />,
    url: "/",
    panel: "Latest errors",
    question: "GET /api/v1/events",
    answer: () => eventsAnswer([event({ message_type: "error", error_details: "no answer" })]),
    seen: "no answer",
    rest,
    empty: {
      "nothing went wrong": { answer: () => eventsAnswer([]), says: "No errors in this range." },
      "none is of the chosen agents": {
        answer: () => eventsAnswer([event({ agent_id: "a-9", message_type: "error" })]),
        url: "/?agents=a-1,a-2",
        says: "None among the newest 200 errors of all agents.",
      },
    },
  });
});
