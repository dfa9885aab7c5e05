import { expect, test } from "vitest";
import { EventFeed } from "./feed.ts";
import { LONGEST_TEXT, partsOf, rowOf } from "./row.ts";

const HOUR = Date.parse("2026-11-26T10:00:00Z");

/** Event number `n` happened in second `n`. */
function event(n: number, fields: Record<string, unknown> = {}) {
  const timestamp = new Date(HOUR + n * 1000).toISOString().replace("Z", "000Z");
  return rowOf({ agent_id: "a", event_id: `e-${n}`, timestamp, message_type: "error", ...fields });
}

/** The ids shown, newest first; a gap as the number of events that it stands for. */
function shown(feed: EventFeed): (string | number | null)[] {
  return [...feed.view].map((entry) => (entry.kind === "gap" ? entry.count : entry.id));
}

function feedOf(capacity = 10): EventFeed {
  return new EventFeed(capacity, (run) => run());
}

test("history and stream are one list, newest first, each event once", () => {
  const feed = feedOf();
  feed.receive(event(5));
  feed.addOlder([event(5), event(4), event(3)]);
  feed.receive(event(6));
  feed.receive(event(4));
  feed.addOlder([event(3), event(2)]);
  expect(shown(feed)).toEqual(["e-6", "e-5", "e-4", "e-3", "e-2"]);
});

test("the same id at another time or of another agent is another event", () => {
  const feed = feedOf();
  feed.receive(event(1));
  feed.receive(event(2, { event_id: "e-1" }));
  feed.receive(event(1, { agent_id: "b" }));
  expect(feed.view.length).toBe(3);
});

test("an event that was stored while the stream opened is put where it belongs", () => {
  const feed = feedOf();
  feed.addOlder([event(3), event(1)]);
  feed.receive(event(5));
  // What is older than all that is loaded comes with its page.
  feed.addMissing([event(5), event(4), event(3), event(2), event(1), event(0)]);
  expect(shown(feed)).toEqual(["e-5", "e-4", "e-3", "e-2", "e-1"]);
});

test("events that come after a gap lie above it", () => {
  const feed = feedOf();
  feed.receive(event(1));
  feed.addMissing([event(9), event(8)], false);
  expect(shown(feed)).toEqual(["e-9", "e-8", null, "e-1"]);
});

test("a full list drops its oldest, which may come again", () => {
  const feed = feedOf(3);
  feed.addOlder([event(2), event(1)]);
  for (const n of [3, 4]) feed.receive(event(n));
  expect(shown(feed)).toEqual(["e-4", "e-3", "e-2"]);
  expect(feed.find(event(1).key)).toBeUndefined();
  expect(feed.addOlder([event(1), event(0)])).toBe(0);
  feed.receive(event(1));
  expect(shown(feed)).toEqual(["e-1", "e-4", "e-3"]);
});

test("while it is held nothing moves; what comes waits, is counted, and is shown in its order", () => {
  const feed = feedOf();
  feed.receive(event(1));
  feed.hold("scroll");
  feed.hold("pointer");
  for (const n of [2, 3, 3]) feed.receive(event(n));
  feed.addMissing([event(3), event(0)]);
  expect(shown(feed)).toEqual(["e-1"]);
  expect(feed.waitingCount).toBe(2);
  feed.release("scroll");
  expect(feed.isHeld).toBe(true);
  expect(shown(feed)).toEqual(["e-1"]);
  feed.release("pointer");
  expect(shown(feed)).toEqual(["e-3", "e-2", "e-1"]);
  expect([feed.waitingCount, feed.isHeld]).toEqual([0, false]);
});

test("older pages can be read while it is held", () => {
  const feed = feedOf();
  feed.receive(event(5));
  feed.hold("scroll");
  feed.receive(event(6));
  expect(feed.addOlder([event(6), event(4)])).toBe(1);
  expect(shown(feed)).toEqual(["e-5", "e-4"]);
});

test("catching up lets go of everything but the pause", () => {
  const feed = feedOf();
  for (const holder of ["pause", "scroll", "focus"] as const) feed.hold(holder);
  feed.receive(event(1));
  feed.catchUp();
  expect([feed.isPaused, shown(feed)]).toEqual([true, []]);
  feed.release("pause");
  expect(shown(feed)).toEqual(["e-1"]);
});

test("what waits is bounded, and the list says how many were dropped", () => {
  const feed = feedOf(3);
  feed.setFilter((row) => row.id !== "e-2");
  feed.addOlder([event(0)]);
  feed.hold("pause");
  for (let n = 1; n <= 6; n++) feed.receive(event(n));
  expect([feed.waitingCount, feed.waitingDropped]).toEqual([3, 2]);
  feed.release("pause");
  expect(shown(feed)).toEqual(["e-6", "e-5", "e-4"]);
  expect(feed.waitingDropped).toBe(0);

  const larger = feedOf(5);
  larger.hold("pause");
  for (let n = 1; n <= 7; n++) larger.receive(event(n));
  larger.setFilter((row) => row.id > "e-5");
  larger.release("pause");
  expect(shown(larger)).toEqual(["e-7", "e-6"]);
});

test("a filter is applied to what is loaded and to what waits, and can be taken back", () => {
  const feed = feedOf();
  for (const n of [1, 2, 3]) feed.receive(event(n));
  feed.hold("scroll");
  for (const n of [4, 5]) feed.receive(event(n));
  feed.setFilter((row) => row.id === "e-2" || row.id === "e-5");
  expect([shown(feed), feed.waitingCount, feed.all.length]).toEqual([["e-2"], 1, 3]);
  feed.release("scroll");
  expect(shown(feed)).toEqual(["e-5", "e-2"]);
  feed.setFilter(() => true);
  expect(shown(feed)).toEqual(["e-5", "e-4", "e-3", "e-2", "e-1"]);
});

test("missing events are one line until the next event", () => {
  const feed = feedOf();
  feed.setFilter((row) => row.id === "e-2");
  feed.receive(event(1));
  feed.miss(5, true, "slow");
  feed.miss(7, true, "slow");
  feed.receive(event(2));
  feed.miss(1, true, "slow");
  feed.miss(null, false, "interrupted");
  expect(shown(feed)).toEqual([null, 1, "e-2", 12]);
});

test("dropped events leave the filtered list too", () => {
  const feed = feedOf(4);
  feed.setFilter((row) => Number(row.id.slice(2)) % 2 === 0);
  for (let n = 0; n < 100; n++) {
    feed.receive(event(n));
    const all = [...feed.all].map((entry) => entry.kind === "event" && entry.id);
    expect(shown(feed)).toEqual(all.filter((id) => Number(String(id).slice(2)) % 2 === 0));
  }
});

test("React is told at once and then at most every quarter of a second", async () => {
  const feed = feedOf(1_000);
  let told = 0;
  feed.subscribe(() => told++);
  const until = performance.now() + 600;
  for (let n = 0; performance.now() < until; n++) {
    feed.receive(event(n));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  expect(told).toBeGreaterThanOrEqual(2);
  expect(told).toBeLessThanOrEqual(4);
});

test("a row keeps the beginning of long texts and says something for each event", () => {
  expect(event(1, { content: "ä".repeat(5_000) }).content).toBe("ä".repeat(LONGEST_TEXT));
  expect(event(1, { metadata: { step: "plan" }, message_type: "graph_step" }).metadata).toBe('{"step":"plan"}');
  expect(event(1, { metadata: { step: "plan" } }).metadata).toBeNull();
});

test("a key names an event and nothing else is a key", () => {
  expect(partsOf(event(1).key)).toEqual({ agentId: "a", timestamp: event(1).timestamp, eventId: "e-1" });
  expect([partsOf("a|b"), partsOf("a||c"), partsOf("a|b|c|d"), partsOf("")]).toEqual([null, null, null, null]);
});
