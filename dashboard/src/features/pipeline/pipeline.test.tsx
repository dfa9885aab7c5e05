import { describe, expect, test } from "vitest";
import { userEvent } from "vitest/browser";
import { FakeApi, type Given, refusal, withStatus } from "@/testing/api.ts";
import { deadLetters, eventAnswer, pipelineAnswer, receiptAnswer, reconciliation } from "@/testing/examples.ts";
import { tryPanelStates } from "@/testing/panel-states.tsx";
import { show } from "@/testing/render.tsx";
import { Pipeline } from "./pipeline.tsx";

const UNREADY = withStatus(503, {
  status: "not ready",
  not_ready: [{ component: "store", reason: "it does not answer" }],
});
const rest = (): Given => ({
  "GET /api/v1/pipeline": pipelineAnswer(),
  "GET /api/v1/reconciliation": reconciliation(),
  "GET /api/v1/dead-letters": deadLetters(),
  "GET /health/ready": { status: "ready" },
});

async function open(given: Given = {}, url = "/pipeline") {
  const api = new FakeApi({ ...rest(), ...given });
  const shown = await show(<Pipeline />, url);
  const card = shown.screen.getByRole("region", { name: "Where is my event?" });
  const find = async (text: string) => {
    await card.getByLabelText("A receipt, or an event’s permalink").fill(text);
    await userEvent.keyboard("{Enter}");
  };
  return { ...shown, api, card, find };
}

test("a receipt is followed until it is counted", async () => {
  const { card, find, api, search } = await open({ "GET /api/v1/receipts/*": receiptAnswer({ counted: false, lag_ms: 1_500 }) });
  await find(" 0-3-7 ");
  expect(search().find).toBe("0-3-7");
  await expect.element(card.getByText(/the oldest event in front of it has waited 1.5 s/)).toBeVisible();
  api.set({ "GET /api/v1/receipts/*": receiptAnswer() });
  await expect.element(card.getByText("every number contains it")).toBeVisible();
  expect(api.of("GET /api/v1/receipts/*").every((asked) => asked.parts[0] === "0-3-7")).toBe(true);
});

test("one that was refused after all says why", async () => {
  const dead_letters = [{ position: "0-3-7", reason: "id_conflict" }];
  const { card, find } = await open({ "GET /api/v1/receipts/*": receiptAnswer({ counted: false, dead_letters }) });
  await find("0-3-7");
  await expect.element(card.getByText(/^0-3-7: id_conflict$/)).toBeVisible();
  await expect.element(card.getByText("Refused after all")).toBeVisible();
});

test("a permalink leads to the event and by it to its receipt, whichever address it is", async () => {
  for (const path of [
    "/agents/team%2Fa/events/2026-11-26T10:00:00.000Z/e-1",
    "/api/v1/agents/team%2Fa/events/2026-11-26T10%3A00%3A00.000Z/e-1",
  ]) {
    const { card, find, screen } = await open({
      "GET /api/v1/agents/*/events/*/*": ({ parts: [agent_id, timestamp, event_id] }) =>
        eventAnswer({ agent_id, timestamp, event_id, receipt: "0-3-7" }),
      "GET /api/v1/receipts/*": receiptAnswer(),
    });
    await find(`https://tally.example.com${path}`);
    await expect.element(card.getByRole("link", { name: "team/a, user_message" })).toBeVisible();
    await expect.element(card.getByText("every number contains it")).toBeVisible();
    await screen.unmount();
  }
});

test("what is neither says so, and nothing is asked", async () => {
  const { card, find, api } = await open();
  await find("nonsense");
  await expect.element(card.getByText(/^That is neither a receipt \(such as 0-3-12345\) nor the permalink/)).toBeVisible();
  expect(api.of("GET /api/v1/receipts/*")).toEqual([]);
});

test("one that is not here is told from one that cannot be looked up", async () => {
  const { card, find, api } = await open({ "GET /api/v1/receipts/*": refusal(404, "nothing was appended there") });
  await find("0-3-7");
  await expect.element(card.getByText("Not here")).toBeVisible();
  api.set({ "GET /api/v1/receipts/*": refusal(410, "of an older epoch") });
  await find("0-3-8");
  await expect.element(card.getByText("Could not be looked up")).toBeVisible();
  await expect.element(card.getByText("of an older epoch")).toBeVisible();
});

test("what waits and what is in trouble is said where it is", async () => {
  const { screen } = await open({
    "GET /api/v1/pipeline": pipelineAnswer({
      lag_records: 40,
      lag_ms: 90_000,
      live_table: { ...pipelineAnswer().live_table, trouble: "the log cannot be read" },
      dead_letters: { total: 3, redriven: 0, by_reason: [{ reason: "too_old", count: 3 }] },
    }),
    "GET /health/ready": UNREADY,
  });
  await expect.element(screen.getByText("40 wait, oldest 90 s")).toBeVisible();
  await expect.element(screen.getByText("the log cannot be read")).toBeVisible();
  await expect.element(screen.getByRole("region", { name: "Dead letters by reason" }).first()).toMatchTextContent(/too_old3/);
  await expect.element(screen.getByRole("region", { name: "Query API" })).toMatchTextContent(/store it does not answer/);
});

test("the day's records are an equation, and what is wrong with it is said", async () => {
  const { screen, api, refresh } = await open();
  const card = screen.getByRole("region", { name: "Every record accounted for" });
  await expect.element(card.getByText("adds up")).toBeVisible();
  await expect.element(card.getByText("equal", { exact: true })).toBeVisible();
  api.set({
    "GET /api/v1/reconciliation": reconciliation({
      adds_up: false,
      unacknowledged: 3,
      totals: { agrees: false, inserted: 9_000, deleted: 0, is_deleting: false, rollups: 8_999 },
    }),
  });
  await refresh();
  await expect.element(card.getByText("does not add up")).toBeVisible();
  await expect.element(card.getByText("not equal: run agent-tally verify")).toBeVisible();
  await expect.element(card.getByText(/of 3 the client may not know/)).toBeVisible();
  api.set({
    "GET /api/v1/reconciliation": reconciliation({
      pending: 7,
      totals: { agrees: null, inserted: 9_000, deleted: 0, is_deleting: false, rollups: 8_998 },
    }),
  });
  await refresh();
  await expect.element(card.getByText("7 on their way")).toBeVisible();
});

describe("every record", () => {
  tryPanelStates({
    page: () => <Pipeline />,
    url: "/pipeline",
    panel: "Every record accounted for",
    question: "GET /api/v1/reconciliation",
    answer: reconciliation,
    seen: "adds up",
    rest,
    empty: {},
  });
});

describe("the stages", () => {
  tryPanelStates({
    page: () => <Pipeline />,
    url: "/pipeline",
    panel: "From accepted to shown",
    question: "GET /api/v1/pipeline",
    answer: pipelineAnswer,
    seen: "nothing waits",
    rest,
    empty: {},
  });
});

describe("the dead letters", () => {
  tryPanelStates({
    page: () => <Pipeline />,
    url: "/pipeline",
    panel: "Dead letters by reason",
    question: "GET /api/v1/pipeline",
    answer: () => pipelineAnswer({ dead_letters: { total: 3, redriven: 0, by_reason: [{ reason: "too_old", count: 3 }] } }),
    seen: "too_old",
    rest,
    empty: { "none was refused": { answer: pipelineAnswer, says: "None: every accepted event could be counted." } },
  });
});

describe("the query API", () => {
  tryPanelStates({
    page: () => <Pipeline />,
    url: "/pipeline",
    panel: "Query API",
    question: "GET /health/ready",
    answer: () => UNREADY,
    seen: "store",
    rest,
    empty: { "all is well": { answer: () => ({ status: "ready" }), says: "everything it needs is ready" } },
  });
});
