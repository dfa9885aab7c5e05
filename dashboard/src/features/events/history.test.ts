import { expect, test } from "vitest";
import type { Event, EventsAnswer } from "@/api/generated.ts";
import { type AskPage, HistoryReader } from "./history.ts";

function event(agent: string, n: number): Event {
  const timestamp = `2026-11-26T10:00:00.${String(n).padStart(6, "0")}Z`;
  return { agent_id: agent, event_id: `${agent}-${n}`, timestamp, message_type: "error" } as Event;
}

function page(items: Event[], next_key: string | null, complete_from: string | null = null): EventsAnswer {
  return { items, next_key, scope: { agents: 200, of: 300, complete_from } } as EventsAnswer;
}

/** A server that has these numbers of events per agent; a cursor is where to go on. */
function serverOf(agents: Record<string, number[]>, asked: string[] = []): AskPage {
  return async ({ agent_id = "" }, cursor, limit) => {
    asked.push(`${agent_id}@${cursor ?? 0}`);
    const all = (agents[agent_id] ?? []).toSorted((a, b) => b - a).map((n) => event(agent_id, n));
    const start = Number(cursor ?? 0);
    const end = start + Math.min(limit, 3);
    return page(all.slice(start, end), end < all.length ? String(end) : null);
  };
}

const ids = (events: Event[]) => events.map((each) => each.event_id);

test("one question is read page by page", async () => {
  const reader = new HistoryReader([{ agent_id: "a" }], serverOf({ a: [1, 2, 3, 4, 5] }));
  expect(ids(await reader.next(4))).toEqual(["a-5", "a-4", "a-3", "a-2"]);
  expect(reader.isEnd).toBe(false);
  expect(ids(await reader.next(4))).toEqual(["a-1"]);
  expect(reader.isEnd).toBe(true);
  expect(await reader.next(4)).toEqual([]);
});

test("several questions are one list by time, wherever their pages end", async () => {
  const agents = { a: [1, 4, 7, 10, 13, 16], b: [2, 3, 5, 30, 31], c: [6, 8, 9, 11, 12, 14, 15] };
  const reader = new HistoryReader(
    Object.keys(agents).map((agent_id) => ({ agent_id })),
    serverOf(agents),
  );
  const all: number[] = [];
  while (!reader.isEnd) all.push(...(await reader.next(5)).map((each) => Number(each.event_id.slice(2))));
  expect(all).toEqual(
    Object.values(agents)
      .flat()
      .sort((a, b) => b - a),
  );
});

test("no question at all has no events", async () => {
  const reader = new HistoryReader([], serverOf({}));
  expect([await reader.next(5), reader.isEnd]).toEqual([[], true]);
});

test("a call that failed is made again and loses nothing", async () => {
  const server = serverOf({ a: [1, 3, 5, 7, 9], b: [2, 4, 6, 8] });
  let calls = 0;
  const reader = new HistoryReader([{ agent_id: "a" }, { agent_id: "b" }], async (...question) => {
    if (++calls === 2 || calls === 4) throw new Error("no answer");
    return server(...question);
  });
  const all: string[] = [];
  for (let i = 0; i < 20 && !reader.isEnd; i++) {
    await reader.next(4).then(
      (events) => all.push(...ids(events)),
      (error) => expect(error.message).toBe("no answer"),
    );
  }
  expect(all).toEqual(["a-9", "b-8", "a-7", "b-6", "a-5", "b-4", "a-3", "b-2", "a-1"]);
});

test("pages without events are read on, but not without end", async () => {
  let calls = 0;
  const reader = new HistoryReader([{}], async () => page(++calls === 5 ? [event("a", 1)] : [], String(calls)));
  expect(ids(await reader.next(1))).toEqual(["a-1"]);
  expect(await reader.next(10)).toEqual([]);
  expect(calls).toBeLessThan(20);
  expect(reader.isEnd).toBe(false);
});

test("it stops where the server cannot speak for all agents, and says so", async () => {
  const from = event("", 5).timestamp;
  const reader = new HistoryReader([{}], async (_, cursor) =>
    cursor ? page([event("a", 5)], "2", from) : page([event("a", 8), event("a", 7)], "1", from),
  );
  expect(ids(await reader.next(10))).toEqual(["a-8", "a-7", "a-5"]);
  expect([reader.isEnd, reader.completeFrom]).toEqual([true, from]);
});
