import { describe, expect, test } from "vitest";
import { userEvent } from "vitest/browser";
import type { Event } from "@/api/generated.ts";
import { DAY, MINUTE } from "@/lib/range.ts";
import { FakeApi, type Given, refusal, silence } from "@/testing/api.ts";
import { agent, agentsPage, ago, event, eventAnswer, eventsAnswer, receiptAnswer } from "@/testing/examples.ts";
import { show } from "@/testing/render.tsx";
import { FakeSource, goLive } from "@/testing/stream.ts";
import { Events } from "./events.tsx";

const PAST = [
  event({ event_id: "p-3", content: "third", timestamp: ago(MINUTE) }),
  event({ event_id: "p-2", content: "second", timestamp: ago(2 * MINUTE), message_type: "error", error_type: "timeout" }),
  event({ event_id: "p-1", content: "first", timestamp: ago(3 * MINUTE), response_time_ms: 2_500 }),
];

async function open(given: Given = {}, url = "/events") {
  goLive();
  const api = new FakeApi({
    "GET /api/v1/agents": agentsPage([agent("a-1")]),
    "GET /api/v1/events": eventsAnswer(PAST),
    "GET /api/v1/agents/*/events/*/*": ({ parts: [agentId, timestamp, id] }) =>
      eventAnswer({ agent_id: agentId, timestamp, event_id: id, receipt: "0-3-7" }),
    "GET /api/v1/receipts/*": receiptAnswer(),
    ...given,
  });
  const shown = await show(<Events />, url);
  // Where the pointer was left by the test before: in the list it would hold new events back.
  await userEvent.hover(document.body, { position: { x: 0, y: 0 } });
  // The page asks for a stream with events: a heartbeat says that it is open.
  FakeSource.last.say("heartbeat", { as_of: new Date().toISOString(), is_caught_up: true, events: "live" });
  const list = shown.screen.getByRole("grid", { name: "Events, newest first" });
  const lines = () => [...shown.screen.container.querySelectorAll("tr[data-index]")].map((row) => row.children[3]?.textContent);
  return { ...shown, api, list, lines };
}

const streamed = (id: string, more: Partial<Event> = {}) => {
  const { agent_id, timestamp, message_type, content } = event({ content: id, timestamp: ago(0), ...more });
  FakeSource.last.say("event", { agent_id, timestamp, message_type, content, event_id: id, receipt: "0-3-8" });
};

test("the newest events come from the store, newer ones over the stream, each once", async () => {
  const { lines } = await open();
  await expect.poll(lines).toEqual(["third", "timeoutsecond", "first"]);
  streamed("n-1");
  streamed("p-3", { content: "third", timestamp: PAST[0]?.timestamp });
  await expect.poll(lines).toEqual(["n-1", "third", "timeoutsecond", "first"]);
});

test("a paused list stands still, counts what waits, and shows it when it goes on", async () => {
  const { screen, lines } = await open();
  await expect.poll(lines).toHaveLength(3);
  await screen.getByRole("button", { name: "Pause" }).click();
  streamed("n-1");
  await expect.element(screen.getByText("Paused: 1 event waits")).toBeVisible();
  streamed("n-2");
  await expect.element(screen.getByText("Paused: 2 events wait")).toBeVisible();
  expect(lines()).toEqual(["third", "timeoutsecond", "first"]);
  await screen.getByRole("button", { name: "Go on" }).click();
  await expect.poll(lines).toEqual(["n-2", "n-1", "third", "timeoutsecond", "first"]);
});

test("while somebody is in the list a button says how many are new, and leads to them", async () => {
  const { screen, list, lines } = await open();
  await expect.poll(lines).toHaveLength(3);
  await list.getByText("first").hover();
  streamed("n-1");
  streamed("n-2");
  const button = screen.getByRole("button", { name: "2 new events" });
  await expect.element(button).toBeVisible();
  expect(lines()).toHaveLength(3);
  await button.click();
  await expect.poll(lines).toEqual(["n-2", "n-1", "third", "timeoutsecond", "first"]);
});

test("of thousands of events only those in sight are drawn", async () => {
  const { screen, lines } = await open();
  await expect.poll(lines).toHaveLength(3);
  for (let i = 0; i < 5_000; i++) streamed(`n-${i}`);
  await expect.element(screen.getByText("5,003 loaded", { exact: true })).toBeVisible();
  await expect.poll(() => lines()[0]).toBe("n-4999");
  expect(lines().length).toBeLessThan(60);
});

test("what the stream could not deliver is a line of its own that loads everything anew", async () => {
  const { screen, lines, api } = await open();
  await expect.poll(lines).toHaveLength(3);
  FakeSource.last.say("missed", { count: 7, is_exact: true, of: "events", reason: "slow" });
  await expect.element(screen.getByText(/^7 events were not delivered: the stream was too fast/)).toBeVisible();
  const before = api.of("GET /api/v1/events").length;
  await screen.getByRole("button", { name: "Load anew" }).click();
  await expect.poll(() => api.of("GET /api/v1/events").length).toBeGreaterThan(before);
  await expect.poll(lines).toHaveLength(3);
});

test("the filter in force is chips: the server's are plain, the browser's say so, and each can be taken away", async () => {
  const { screen, lines, api, search } = await open({}, "/events?filter=agent:a-1+second");
  await expect.poll(lines).toEqual(["timeoutsecond"]);
  expect(api.of("GET /api/v1/events")[0]?.parameters.get("agent_id")).toBe("a-1");
  expect(FakeSource.last.url).toContain("a-1");
  const chips = screen.getByRole("region", { name: "Filter in force" });
  await expect
    .element(chips.getByRole("button", { name: "Remove second" }))
    .toHaveAttribute("title", "Filtered here, from what was loaded. Click to remove");
  await expect.element(chips.getByRole("button", { name: "Remove agent:a-1" })).toHaveAttribute("title", "Click to remove");
  await expect.element(screen.getByText(/1 of 3 loaded/)).toBeVisible();
  await chips.getByRole("button", { name: "Remove second" }).click();
  await expect.poll(lines).toHaveLength(3);
  expect(search().filter).toBe("agent:a-1");
});

test("an event that does not fit the filter is not shown when it comes", async () => {
  const { lines } = await open({}, "/events?filter=second");
  await expect.poll(lines).toEqual(["timeoutsecond"]);
  streamed("another second");
  streamed("something else");
  streamed("a third second");
  await expect.poll(lines).toEqual(["a third second", "another second", "timeoutsecond"]);
});

test("the first event of an agent that was not known is shown although it came before the stream opened", async () => {
  const first = event({ agent_id: "newcomer", event_id: "f-1", content: "here I am", timestamp: ago(0) });
  const { screen, lines, api } = await open({ "GET /api/v1/agents": agentsPage([]) }, "/events?filter=agent:newcomer");
  await expect.element(screen.getByText("No event fits this filter.")).toBeVisible();
  api.set({ "GET /api/v1/events": ({ parameters }) => eventsAnswer(parameters.has("agent_id") ? [] : [first, ...PAST]) });
  await expect.poll(lines, { timeout: 10_000 }).toEqual(["here I am"]);
});

test("the keyboard goes through the list and opens an event, and the drawer's keys go on from it", async () => {
  const { screen, list, lines, search } = await open();
  await expect.poll(lines).toHaveLength(3);
  (list.element() as HTMLElement).focus();
  await userEvent.keyboard("{ArrowDown}{Enter}");
  await expect.poll(() => search().event).toContain("|p-2");
  const drawer = screen.getByRole("dialog", { name: "Event" });
  await expect.element(drawer.getByRole("article", { name: "Event p-2" })).toBeVisible();
  await userEvent.keyboard("j");
  await expect.element(drawer.getByRole("article", { name: "Event p-1" })).toBeVisible();
  await expect.element(drawer.getByRole("button", { name: "Older" })).toBeDisabled();
  await drawer.getByRole("button", { name: "Newer" }).click();
  await expect.element(drawer.getByRole("article", { name: "Event p-2" })).toBeVisible();
  await userEvent.keyboard("{Escape}");
  await expect.poll(() => search().event).toBeUndefined();
});

test("the drawer shows at once what the list knows, and waits for the rest of an event that is not stored yet", async () => {
  let isStored = false;
  const { screen, lines } = await open({
    "GET /api/v1/agents/*/events/*/*": ({ parts: [agent_id, timestamp, event_id] }) =>
      isStored
        ? eventAnswer({
            agent_id,
            timestamp,
            event_id,
            content: "just now",
            receipt: "0-3-8",
            metadata: { city: { name: "Ulm" } },
          })
        : refusal(404, "no such event"),
  });
  await expect.poll(lines).toHaveLength(3);
  streamed("n-1", { content: "just now" });
  await screen.getByText("just now").click();
  const drawer = screen.getByRole("dialog", { name: "Event" });
  await expect.element(drawer.getByText(/^Accepted, not stored yet/)).toBeVisible();
  await expect.element(drawer.getByRole("link", { name: "0-3-8" })).toBeVisible();
  isStored = true;
  await expect.element(drawer.getByText(/^Stored and counted: every number contains it/)).toBeVisible();
  await expect.element(drawer.getByRole("figure", { name: "Metadata" })).toMatchTextContent(/city.*name: “Ulm”/);
});

describe("the list", () => {
  test("it says that it loads", async () => {
    const { screen } = await open({ "GET /api/v1/events": silence });
    await expect.element(screen.getByText("Events load")).toBeInTheDocument();
  });

  test("a range without events offers to go where the last is", async () => {
    const last = agent("a-1", { last_seen: ago(40 * DAY) });
    const { screen, search } = await open({ "GET /api/v1/events": eventsAnswer([]), "GET /api/v1/agents": agentsPage([last]) });
    await expect.element(screen.getByText(/^No data in this range. The last event came/)).toBeVisible();
    await screen.getByRole("button", { name: "Go there" }).click();
    await expect.poll(() => Date.parse(search().to ?? "")).toBe(Date.parse(last.last_seen ?? "") + 1);
  });

  test("a filter that nothing fits can be cleared", async () => {
    const { screen, lines } = await open({}, "/events?filter=nowhere");
    await expect.element(screen.getByText(/^No event fits this filter. Looked through 3 events, back to/)).toBeVisible();
    await screen.getByRole("region", { name: "Events" }).getByRole("button", { name: "Clear the filter" }).click();
    await expect.poll(lines).toHaveLength(3);
  });

  test("an error names the cause and the request, and can be tried again", async () => {
    const { screen, api, lines } = await open({ "GET /api/v1/events": refusal(422, "the store is away", "r-7") });
    const alert = screen.getByRole("region", { name: "Events" }).getByRole("alert");
    await expect.element(alert).toMatchTextContent(/the store is away/);
    await expect.element(alert).toMatchTextContent(/request r-7/);
    api.set({ "GET /api/v1/events": eventsAnswer(PAST) });
    await alert.getByRole("button", { name: "Try again" }).click();
    await expect.poll(lines).toHaveLength(3);
  });

  test("where older ones cannot be loaded, the newer stay and the end says so", async () => {
    const page = Array.from({ length: 200 }, (_, i) =>
      event({ event_id: `q-${i}`, content: `q-${i}`, timestamp: ago((i + 1) * 1_000) }),
    );
    const { screen, api, lines } = await open({
      "GET /api/v1/events": ({ parameters }) =>
        parameters.has("cursor") ? refusal(422, "the store is away") : eventsAnswer(page, "more"),
    });
    await expect.poll(() => lines()[0]).toBe("q-0");
    const scroller = screen.container.querySelector(".overflow-y-auto.h-full");
    if (!scroller) throw new Error("nothing scrolls");
    scroller.scrollTop = scroller.scrollHeight;
    await expect.element(screen.getByText("Older events could not be loaded: the store is away")).toBeVisible();
    expect(lines().at(-1)).toBe("q-199");
    api.set({
      "GET /api/v1/events": eventsAnswer([event({ event_id: "q-200", content: "the oldest", timestamp: ago(MINUTE * 5) })]),
    });
    await screen.getByRole("button", { name: "Try again" }).click();
    scroller.scrollTop = scroller.scrollHeight;
    await expect.poll(() => lines().at(-1)).toBe("the oldest");
    await expect.element(screen.getByText("No older events in this range.")).toBeVisible();
  });
});
