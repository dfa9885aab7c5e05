import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { alive, FakeSource, stubStream } from "@/testing/stream.ts";
import { LiveClient } from "./live.ts";

let stop = () => {};
let client = new LiveClient();
let changes = 0;

beforeEach(() => {
  vi.useFakeTimers();
  stubStream();
  changes = 0;
  client = new LiveClient();
  client.onChange(() => changes++);
  stop = client.start();
  client.setAllowed(true);
});
afterEach(() => {
  stop();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("it says how far the stream is behind", () => {
  expect(client.getState().mode).toBe("connecting");
  FakeSource.last.say("heartbeat", alive());
  expect(client.getState()).toMatchObject({ mode: "live", behindMs: 200, isCaughtUp: true });
});

test("changed totals are passed on", () => {
  FakeSource.last.say("totals", { ...alive(), agents: [] });
  expect(changes).toBe(1);
});

test("a broken stream is tried again ever more rarely, and asked for by the clock until it is back", () => {
  FakeSource.last.say("heartbeat", alive(), "7");
  FakeSource.last.onerror?.();
  expect(client.getState().mode).toBe("polling");
  vi.advanceTimersByTime(2_000);
  expect(FakeSource.opened).toHaveLength(2);
  expect(FakeSource.last.url).toContain("last_event_id=7");
  FakeSource.last.onerror?.();
  vi.advanceTimersByTime(3_999);
  expect(FakeSource.opened).toHaveLength(2);
  vi.advanceTimersByTime(1);
  expect(FakeSource.opened).toHaveLength(3);
  FakeSource.last.onerror?.();
  vi.advanceTimersByTime(30_000);
  expect(changes).toBeGreaterThanOrEqual(1);
  const asked = changes;
  FakeSource.last.say("heartbeat", alive());
  expect(client.getState().mode).toBe("live");
  expect(changes, "what happened meanwhile is asked for").toBe(asked + 1);
});

test("a stream without a heartbeat counts as broken", () => {
  FakeSource.last.say("heartbeat", alive());
  vi.advanceTimersByTime(40_000);
  expect(client.getState().mode).toBe("polling");
});

test("a paused page has no stream, and asks for everything when it goes on", () => {
  const first = FakeSource.last;
  client.setPaused(true);
  expect([first.isClosed, client.getState().mode]).toEqual([true, "paused"]);
  vi.advanceTimersByTime(120_000);
  expect([FakeSource.opened.length, changes]).toEqual([1, 0]);
  client.setPaused(false);
  expect([FakeSource.opened.length, changes]).toEqual([2, 1]);
});

test("nothing is opened before it is allowed, nor when it is no longer", () => {
  stop();
  stubStream();
  client = new LiveClient();
  client.onChange(() => changes++);
  stop = client.start();
  client.setAgents(["a"]);
  vi.advanceTimersByTime(120_000);
  expect([FakeSource.opened.length, client.getState().mode, changes]).toEqual([0, "connecting", 0]);
  client.setAllowed(true);
  expect(FakeSource.open).toHaveLength(1);
  FakeSource.last.say("heartbeat", alive());
  expect([client.getState().mode, changes], "what changed meanwhile is asked for").toEqual(["live", 1]);
  client.setAllowed(false);
  vi.advanceTimersByTime(120_000);
  expect([FakeSource.open.length, client.getState().mode]).toEqual([0, "connecting"]);
});

test("who watches events gets them over the one stream of the tab", () => {
  const seen: string[] = [];
  const end = client.watchEvents({
    parameters: { message_type: "error" },
    onEvent: (e) => seen.push(e.event_id),
    onMissed: () => {},
  });
  expect(FakeSource.open).toHaveLength(1);
  expect(FakeSource.last.url).toContain("events=true&message_type=error");
  FakeSource.last.say("event", { agent_id: "a", event_id: "e-1", timestamp: "", message_type: "error" });
  expect(seen).toEqual(["e-1"]);
  end();
  expect(FakeSource.last.url).not.toContain("events=true");
});

test("only the chosen agents are followed", () => {
  client.setAgents(["a", "b"]);
  expect(FakeSource.last.url).toContain("agents=a%2Cb");
  expect(FakeSource.open).toHaveLength(1);
});
