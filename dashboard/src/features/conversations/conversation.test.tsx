import { describe, expect, test } from "vitest";
import { userEvent } from "vitest/browser";
import type { Event } from "@/api/generated.ts";
import { MINUTE } from "@/lib/range.ts";
import { FakeApi, refusal } from "@/testing/api.ts";
import { ago, conversationAnswer, event } from "@/testing/examples.ts";
import { tryPanelStates } from "@/testing/panel-states.tsx";
import { show } from "@/testing/render.tsx";
import { Conversation } from "./conversation.tsx";

const ROUTE = "/conversations/$conversationId";

/** Seconds after a moment shortly before midnight, so that the talk goes on on the next day. */
const at = (seconds: number) => new Date(Date.parse("2026-11-25T23:59:00Z") + seconds * 1_000).toISOString();
const said = (id: string, seconds: number, more: Partial<Event> = {}) =>
  event({ event_id: id, timestamp: at(seconds), content: id, ...more });

async function open(events: Event[], url = "/conversations/c-1", more: Parameters<typeof conversationAnswer>[1] = {}) {
  const api = new FakeApi({ "GET /api/v1/conversations/*": conversationAnswer(events, more) });
  const shown = await show(<Conversation />, url, ROUTE);
  const timeline = shown.screen.getByRole("region", { name: "Timeline" });
  await expect.element(timeline.getByRole("slider")).toBeVisible();
  const items = () => [...timeline.element().querySelectorAll("ol > li")].map((item) => item.textContent ?? "");
  return { ...shown, api, timeline, items };
}

test("between events it says how long nothing came, whether an answer was waited for, and where a day ends", async () => {
  const { items } = await open([
    said("question", 0),
    said("answer", 40, { message_type: "agent_response", response_time_ms: 39_000 }),
    said("thanks", 300),
    said("bye", 310),
  ]);
  const [question, wait, answer, pause, day, thanks, bye, ...more] = items();
  expect(
    [question, answer, thanks, bye].map((text) => text?.includes("question") || /answer|thanks|bye/.test(text ?? "")),
  ).not.toContain(false);
  expect([wait, pause, day]).toEqual(["40 s wait", "4 min 20 s pause", "26 Nov"]);
  expect(more).toEqual([]);
});

test("a long text is folded until it is asked for", async () => {
  const text = `${"word ".repeat(600)}the very end`;
  const { timeline } = await open([said("long", 0, { content: text })]);
  expect(timeline.element().textContent).not.toContain("the very end");
  await timeline.getByRole("button", { name: /^Show all \(3.01 k characters\)$/ }).click();
  await expect.element(timeline.getByText(/the very end/)).toBeVisible();
  await timeline.getByRole("button", { name: "Show less" }).click();
  await expect.element(timeline.getByText(/the very end/)).not.toBeInTheDocument();
});

test("each kind of event says what it has to say", async () => {
  const { items } = await open([
    said("silent", 0, { content: null }),
    said("tool", 1, {
      message_type: "tool_call",
      content: null,
      tool_name: "weather",
      error_type: "http_500",
      error_details: "no answer",
    }),
    said("step", 2, { message_type: "tool_call", content: null, tool_name: "clock" }),
    said("error", 3, { message_type: "error", content: null, error_type: "timeout", error_details: "30 s" }),
    said("stars", 4, { message_type: "feedback", content: "good", user_feedback: 4 }),
  ]);
  const [silent, tool, step, error, stars] = items();
  expect(silent).toContain("No text was sent.");
  expect(tool).toMatch(/weather.*failed.*http_500 no answer/);
  expect(step).toMatch(/clock.*ok/);
  expect(error).toMatch(/timeout.*30 s/);
  expect(stars).toMatch(/4 of 5.*good/);
});

test("what the events add up to stands beside those that added to it", async () => {
  const { items } = await open([
    said("one", 0, { token_count: 100, cost_usd: 0.1 }),
    said("two", 1),
    said("three", 2, { token_count: 20, cost_usd: 0.2 }),
  ]);
  expect(items()[0]).toContain("So far: 100 tokens · $0.10");
  expect(items()[1]).not.toContain("So far");
  expect(items()[2]).toContain("So far: 120 tokens · $0.30");
});

test("the first error is one click away, however long the talk, and the address leads to it", async () => {
  const events = Array.from({ length: 300 }, (_, i) =>
    said(`e-${i}`, i, i === 250 ? { message_type: "error", error_details: "it broke" } : {}),
  );
  const { screen, timeline, search } = await open(events);
  expect(timeline.getByRole("button", { name: "Raw event 251" }).elements()).toHaveLength(0);
  await screen.getByRole("button", { name: "1" }).click();
  await expect.element(timeline.getByText("it broke")).toBeInViewport();
  await expect.poll(() => search().event).toBe("e-250");
});

test("the address of an event opens the talk there", async () => {
  const events = Array.from({ length: 300 }, (_, i) => said(`e-${i}`, i));
  const { timeline } = await open(events, "/conversations/c-1?event=e-200");
  await expect.element(timeline.getByText("e-200", { exact: true })).toBeInViewport();
});

test("the arrow keys go along the strip", async () => {
  const { timeline, search } = await open([said("e-0", 0), said("e-1", 1), said("e-2", 2)]);
  (timeline.getByRole("slider").element() as HTMLElement).focus();
  await userEvent.keyboard("{ArrowRight}{ArrowRight}");
  await expect.poll(() => search().event).toBe("e-2");
  await expect.element(timeline.getByRole("slider")).toHaveAttribute("aria-valuenow", "3");
});

test("an event can be seen as the API has it, and has a page of its own", async () => {
  const { timeline } = await open([said("e-0", 0, { metadata: { city: "Ulm" } })]);
  await timeline.getByRole("button", { name: "Raw event 1" }).click();
  await expect.element(timeline.getByText(/"city": "Ulm"/)).toBeVisible();
  const page = timeline.getByRole("link", { name: "Page of event 1" });
  await expect.element(page).toHaveAttribute("href", `/agents/a-1/events/${encodeURIComponent(at(0))}/e-0`);
});

test("what comes while one reads further up is announced, and nothing scrolls by itself", async () => {
  const events = Array.from({ length: 60 }, (_, i) =>
    event({ event_id: `e-${i}`, content: `e-${i}`, timestamp: ago(MINUTE - i) }),
  );
  const { screen, api, refresh, timeline } = await open(events, "/conversations/c-1", { status: "active" });
  await expect.element(timeline.getByText("e-0", { exact: true })).toBeInViewport();
  api.set({
    "GET /api/v1/conversations/*": conversationAnswer([
      ...events,
      event({ event_id: "e-60", content: "news", timestamp: ago(0) }),
    ]),
  });
  await refresh();
  const button = screen.getByRole("button", { name: "1 new event" });
  await expect.element(button).toBeVisible();
  await expect.element(timeline.getByText("e-0", { exact: true })).toBeInViewport();
  await button.click();
  await expect.element(timeline.getByText("news")).toBeInViewport();
});

test("where only the newest events are there, it says so", async () => {
  const { api, refresh, timeline } = await open([said("e-0", 0)]);
  api.set({ "GET /api/v1/conversations/*": { ...conversationAnswer([said("e-0", 0)]), is_complete: false } });
  await refresh();
  await expect.element(timeline.getByText(/^Only the newest 1 events are here/)).toBeVisible();
});

test("one that is not there says so", async () => {
  new FakeApi({ "GET /api/v1/conversations/*": refusal(404, "no such conversation") });
  const { screen } = await show(<Conversation />, "/conversations/c-9", ROUTE);
  await expect.element(screen.getByRole("heading", { name: "There is no such conversation" })).toBeVisible();
  await expect.element(screen.getByText(/not have been counted yet/)).toBeVisible();
});

describe("the panel", () => {
  tryPanelStates({
    page: () => <Conversation />,
    url: "/conversations/c-1",
    route: ROUTE,
    panel: "Timeline",
    question: "GET /api/v1/conversations/*",
    answer: () => conversationAnswer([said("hello there", 0)]),
    seen: "hello there",
    rest: () => ({}),
    // A conversation without events is none: see above.
    empty: {},
  });
});
