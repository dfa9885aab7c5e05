import { expect, test } from "vitest";
import type { Event } from "@/api/generated.ts";
import { isLong, rowsOf, totalsOf } from "./timeline-rows.ts";

const START = Date.parse("2026-11-26T10:00:00Z");

function event(seconds: number, more: Partial<Event> = {}): Event {
  return {
    agent_id: "support",
    event_id: `e${seconds}`,
    timestamp: new Date(START + seconds * 1000).toISOString(),
    message_type: "user_message",
    content: null,
    metadata: null,
    error_details: null,
    response_time_ms: null,
    token_count: null,
    model_used: null,
    user_feedback: null,
    cost_usd: null,
    ...more,
  };
}

const shape = (events: Event[]) =>
  rowsOf(events, "utc").map((row) => (row.kind === "pause" ? `${row.ms / 1000} s` : row.kind === "day" ? "day" : row.index));

test("gaps from thirty seconds on are rows of their own", () => {
  expect(shape([event(0), event(29.999), event(59.999), event(309.999)])).toEqual([0, 1, "30 s", 2, "250 s", 3]);
});

test("a gap that the answer took is told from a pause", () => {
  const rows = rowsOf([event(0), event(60, { message_type: "agent_response", response_time_ms: 58_000 }), event(120)], "utc");
  expect(rows.flatMap((row) => (row.kind === "pause" ? [row.isAnswering] : []))).toEqual([true, false]);
});

test("a new day of the zone is said, behind the pause that leads to it", () => {
  expect(shape([event(0), event(14 * 3600), event(14 * 3600 + 1)])).toEqual([0, "50400 s", "day", 1, 2]);
});

test("no events have no rows, and one has no pause", () => {
  expect([shape([]), shape([event(0)])]).toEqual([[], [0]]);
});

test("totals grow along the way and leave no binary fractions", () => {
  const totals = totalsOf([
    event(0),
    event(1, { token_count: 10, cost_usd: 0.1 }),
    event(2, { token_count: 5 }),
    event(3, { cost_usd: 0.2 }),
  ]);
  expect(totals).toEqual([
    { tokens: 0, costUsd: null },
    { tokens: 10, costUsd: 0.1 },
    { tokens: 15, costUsd: 0.1 },
    { tokens: 15, costUsd: 0.3 },
  ]);
});

test("a known cost of zero is not an unknown one", () => {
  expect(totalsOf([event(0, { cost_usd: 0 })])[0]?.costUsd).toBe(0);
});

test("long texts are those with many characters or lines", () => {
  expect(["x".repeat(900), "x".repeat(901), "x\n".repeat(13), "x\n".repeat(14)].map(isLong)).toEqual([false, true, false, true]);
});
