import { describe, expect, test } from "vitest";
import { userEvent } from "vitest/browser";
import { DAY, HOUR, MINUTE } from "@/lib/range.ts";
import { FakeApi, type Given } from "@/testing/api.ts";
import {
  agent,
  agentsPage,
  ago,
  errorGroup,
  errorsAnswer,
  event,
  eventAnswer,
  receiptAnswer,
  seriesAnswer,
} from "@/testing/examples.ts";
import { tryPanelStates } from "@/testing/panel-states.tsx";
import { show } from "@/testing/render.tsx";
import { Errors } from "./errors.tsx";

const GROUPS = [
  errorGroup("g-1", {
    count: 9,
    share: 0.75,
    shape: "no answer after <n> ms",
    last_seen: ago(3 * MINUTE),
    first_seen: ago(HOUR),
  }),
  errorGroup("g-2", {
    error_type: "quota",
    shape: "user <id> has <n> left",
    count: 2,
    share: 0.17,
    agents: ["a-2", "a-3", "a-4", "a-5", "a-6", "a-7", "a-8"].map((agent_id) => ({ agent_id, count: 1 })),
    agents_affected: 9,
    last_seen: ago(MINUTE),
    first_seen: ago(2 * HOUR),
  }),
  errorGroup("g-3", {
    error_type: null,
    shape: "boom",
    count: 1,
    share: 0.08,
    last_seen: ago(5 * MINUTE),
    first_seen: ago(5 * MINUTE),
  }),
];

const rest = (): Given => ({
  "GET /api/v1/metrics/series": seriesAnswer({ calls: 10, messages: 5, errors: 1 }),
  "GET /api/v1/agents": agentsPage([agent("a-1")]),
});

async function open(url = "/errors", given: Given = {}) {
  const api = new FakeApi({
    ...rest(),
    "GET /api/v1/errors": errorsAnswer(GROUPS),
    "GET /api/v1/agents/*/events/*/*": ({ parts: [agent_id, timestamp, event_id] }) =>
      eventAnswer({ agent_id, timestamp, event_id, message_type: "error", error_details: "the whole message", receipt: "0-3-7" }),
    "GET /api/v1/receipts/*": receiptAnswer(),
    ...given,
  });
  const shown = await show(<Errors />, url);
  const rows = () =>
    [...shown.screen.container.querySelectorAll("tbody tr th a > span:first-child")].map((cell) => cell.textContent);
  return { ...shown, api, rows };
}

test("groups are sorted by any column, and a second click turns the order round", async () => {
  const { screen, rows } = await open();
  await expect.poll(rows).toEqual(["timeout", "quota", "no type"]);
  const orders = {
    Agents: ["quota", "timeout", "no type"],
    "First seen": ["no type", "timeout", "quota"],
    "Last seen": ["quota", "timeout", "no type"],
  };
  for (const [title, order] of Object.entries(orders)) {
    const head = screen.getByRole("columnheader", { name: title });
    await head.getByRole("button").click();
    await expect.poll(rows).toEqual(order);
    await expect.element(head).toHaveAttribute("aria-sort", "descending");
    await head.getByRole("button").click();
    await expect.element(head).toHaveAttribute("aria-sort", "ascending");
    await expect.poll(() => rows().at(-1)).toBe(order[0]);
  }
});

test("a type or words pick groups, and what matches none can be taken back", async () => {
  const { screen, rows, search } = await open();
  await screen.getByRole("button", { name: /^quota/ }).click();
  await expect.poll(rows).toEqual(["quota"]);
  expect(search().type).toBe("quota");
  await screen.getByRole("button", { name: "All 12" }).click();
  await expect.poll(rows).toHaveLength(3);
  await screen.getByRole("searchbox").fill("LEFT a-3");
  await expect.poll(rows).toEqual(["quota"]);
  await screen.getByRole("searchbox").fill("nothing of that");
  await expect.element(screen.getByText("No group matches.")).toBeVisible();
  await screen.getByRole("button", { name: "Show all" }).click();
  await expect.poll(rows).toHaveLength(3);
});

test("a group opens beside the list with one of its errors whole, and the keys go to the next", async () => {
  const { screen, search } = await open();
  await screen.getByRole("link", { name: /^quota/ }).click();
  await expect.poll(() => search().group).toBe("g-2");
  const drawer = screen.getByRole("dialog", { name: "quota" });
  await expect.element(drawer.getByRole("article").getByText("the whole message")).toBeVisible();
  await expect.element(drawer.getByText("Stored and counted", { exact: false })).toBeVisible();
  const affected = drawer.getByRole("region", { name: "Agents affected" });
  await expect.element(affected.getByRole("link", { name: "a-6" })).toBeVisible();
  expect(affected.getByRole("link", { name: "a-8" }).elements()).toHaveLength(0);
  await affected.getByRole("button", { name: "4 more" }).click();
  await expect.element(affected.getByRole("link", { name: "a-8" })).toBeVisible();
  await expect.element(affected.getByText("and 2 more")).toBeVisible();
  await userEvent.keyboard("j");
  await expect.element(screen.getByRole("dialog", { name: "Error without a type" })).toBeVisible();
  await expect.element(screen.getByRole("button", { name: "Next" })).toBeDisabled();
  await userEvent.keyboard("kk");
  await expect.element(screen.getByRole("dialog", { name: "timeout" })).toBeVisible();
  await userEvent.keyboard("{Escape}");
  await expect.poll(() => search().group).toBeUndefined();
});

test("the error that one reads stays although a newer one came", async () => {
  const { screen, api, refresh } = await open("/errors?group=g-1");
  const drawer = screen.getByRole("dialog", { name: "timeout" });
  await expect.element(drawer.getByRole("article", { name: "Event e-g-1" })).toBeVisible();
  const newer = event({ event_id: "e-new", message_type: "error" });
  api.set({ "GET /api/v1/errors": errorsAnswer([{ ...GROUPS[0], count: 10, example: newer } as (typeof GROUPS)[0]]) });
  await refresh();
  await expect.element(drawer.getByText("10", { exact: true })).toBeVisible();
  await expect.element(drawer.getByRole("article", { name: "Event e-g-1" })).toBeVisible();
});

test("a group that is not there says so", async () => {
  const { screen } = await open("/errors?group=g-9");
  await expect.element(screen.getByRole("dialog").getByText(/^This group has no errors in the range/)).toBeVisible();
});

test("where not all errors were read, it says from when on the numbers are complete", async () => {
  const answer = errorsAnswer(GROUPS, {
    is_complete: false,
    complete_from: "2026-01-02T03:04:00.000000Z",
    groups: 400,
    total: 50_000,
  });
  const { screen, api } = await open("/errors", { "GET /api/v1/errors": answer });
  await expect
    .element(screen.getByText(/Only the newest 50,000 errors were grouped: .* complete from 2 Jan, 03:04 on/))
    .toBeVisible();
  await expect.element(screen.getByText(/The 3 largest of 400 groups/)).toBeVisible();
  await screen.getByRole("button", { name: "Show 300" }).click();
  await expect.poll(() => api.of("GET /api/v1/errors").at(-1)?.parameters.get("limit")).toBe("300");
});

describe("the panel", () => {
  tryPanelStates({
    page: () => <Errors />,
    url: "/errors",
    panel: "By type and message",
    question: "GET /api/v1/errors",
    answer: () => errorsAnswer(GROUPS),
    seen: "quota",
    rest,
    empty: {
      "nothing went wrong": { answer: () => errorsAnswer([]), says: "No errors in this range." },
      "nothing happened": {
        answer: () => errorsAnswer([]),
        rest: () => ({ "GET /api/v1/metrics/series": seriesAnswer() }),
        says: "No errors in this range, and no other events.",
      },
    },
  });
});

test("the chart of a range before the first event offers to go where the last is", async () => {
  const last = agent("a-1", { last_seen: ago(40 * DAY) });
  const given = { "GET /api/v1/metrics/series": seriesAnswer(), "GET /api/v1/agents": agentsPage([last]) };
  const { screen, search } = await open("/errors", given);
  await screen.getByRole("region", { name: "All errors" }).getByRole("button", { name: "Go there" }).click();
  await expect.poll(() => Date.parse(search().to ?? "")).toBe(Date.parse(last.last_seen ?? "") + 1);
});
