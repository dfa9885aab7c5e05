import { expect, test, vi } from "vitest";
import { DAY, MINUTE } from "@/lib/range.ts";
import { FakeApi, type Given, refusal } from "@/testing/api.ts";
import { ago, event, eventAnswer, receiptAnswer } from "@/testing/examples.ts";
import { show } from "@/testing/render.tsx";
import { EventDetail } from "./event-detail.tsx";

const AT = ago(MINUTE);

async function open(given: Given, timestamp = AT) {
  const api = new FakeApi(given);
  const content = (
    <EventDetail agentId="team/a:b" timestamp={timestamp} eventId="e-1" missing={<a href="/pipeline">Where is it?</a>} />
  );
  return { ...(await show(content)), api };
}

/** What was put into the clipboard last. */
function clipboard(): () => string | undefined {
  const write = vi.spyOn(navigator.clipboard, "writeText").mockResolvedValue();
  return () => write.mock.lastCall?.[0];
}

const of = (more: Parameters<typeof eventAnswer>[0] = {}) =>
  eventAnswer({ agent_id: "team/a:b", timestamp: AT, event_id: "e-1", receipt: "0-3-7", ...more });

test("the message is text, never HTML", async () => {
  const { screen } = await open({
    "GET /api/v1/agents/*/events/*/*": of({ content: "<b onclick=alert(1)>bold</b>\nnext" }),
    "GET /api/v1/receipts/*": receiptAnswer(),
  });
  await expect.element(screen.getByText(/<b onclick=alert\(1\)>bold<\/b>/)).toBeVisible();
  expect(screen.container.querySelector("b")).toBeNull();
});

test("metadata can be read level by level", async () => {
  const metadata = { city: { name: "Ulm", deep: { deeper: { deepest: 1 } } }, tags: [], flag: true };
  const { screen } = await open({
    "GET /api/v1/agents/*/events/*/*": of({ metadata }),
    "GET /api/v1/receipts/*": receiptAnswer(),
  });
  const json = screen.getByRole("figure", { name: "Metadata" });
  await expect.element(json).toMatchTextContent(/name: “Ulm”/);
  await expect.element(json).not.toMatchTextContent(/deepest/);
  await json.getByText(/^deeper:/).click();
  await expect.element(json).toMatchTextContent(/deepest: 1/);
});

test("its JSON, its id and the address of its page can be copied", async () => {
  const { screen } = await open({ "GET /api/v1/agents/*/events/*/*": of(), "GET /api/v1/receipts/*": receiptAnswer() });
  const copied = clipboard();
  await screen.getByRole("button", { name: "Copy JSON" }).click();
  expect(JSON.parse(copied() ?? "")).toMatchObject({ agent_id: "team/a:b", event_id: "e-1", content: "Hello" });
  await screen.getByRole("button", { name: "Copy id" }).click();
  expect(copied()).toBe("e-1");
  await screen.getByRole("button", { name: "Copy permalink" }).click();
  expect(copied()).toBe(`${location.origin}/agents/team%2Fa:b/events/${AT}/e-1`);
  await expect.element(screen.getByRole("button", { name: /^Copied/ }).first()).toBeVisible();
});

test("a browser that gives no clipboard is said so", async () => {
  const { screen } = await open({ "GET /api/v1/agents/*/events/*/*": of(), "GET /api/v1/receipts/*": receiptAnswer() });
  vi.spyOn(navigator.clipboard, "writeText").mockRejectedValue(new Error("not allowed"));
  await screen.getByRole("button", { name: "Copy id" }).click();
  await expect.element(screen.getByRole("button", { name: "Select and copy by hand" })).toBeVisible();
});

test.each([
  [receiptAnswer(), /^Stored and counted: every number contains it/],
  [receiptAnswer({ counted: false, lag_ms: 250 }), /^Stored, not counted yet; what is in front waits 250 ms/],
  [
    receiptAnswer({ counted: false, dead_letters: [{ position: "0-3-7", reason: "id_conflict" }] }),
    /^Accepted, then refused: id_conflict/,
  ],
  [refusal(410, "of an older epoch"), /^Stored; its receipt cannot be read now/],
])("the receipt says how far it has come: %#", async (receipt, says) => {
  const { screen } = await open({ "GET /api/v1/agents/*/events/*/*": of(), "GET /api/v1/receipts/*": receipt });
  await expect.element(screen.getByText(says)).toBeVisible();
  const link = screen.getByRole("link", { name: "0-3-7" });
  await expect.element(link).toHaveAttribute("href", "/pipeline?find=0-3-7");
});

test("an event without a receipt says that it has none", async () => {
  const { screen } = await open({ "GET /api/v1/agents/*/events/*/*": of({ receipt: undefined }) });
  await expect.element(screen.getByText(/^Stored; it has no receipt/)).toBeVisible();
});

test("a young event that is not there is waited for", async () => {
  const { screen, api } = await open({ "GET /api/v1/agents/*/events/*/*": refusal(404, "no such event") });
  await expect.element(screen.getByText(/asks again every second/)).toBeVisible();
  await expect.element(screen.getByRole("link", { name: "Where is it?" })).toBeVisible();
  api.set({ "GET /api/v1/agents/*/events/*/*": of(), "GET /api/v1/receipts/*": receiptAnswer() });
  await expect.element(screen.getByRole("article", { name: "Event e-1" })).toBeVisible();
});

test("an old one that is not there is not waited for", async () => {
  const { screen } = await open({ "GET /api/v1/agents/*/events/*/*": refusal(404, "no such event") }, ago(DAY));
  await expect.element(screen.getByText(/It may have expired/)).toBeVisible();
});

test("an error names the cause and the request, and can be tried again", async () => {
  const { screen, api } = await open({ "GET /api/v1/agents/*/events/*/*": refusal(503, "the store is away", "r-7") });
  await expect.element(screen.getByRole("alert")).toMatchTextContent(/the store is away.*request r-7/);
  api.set({ "GET /api/v1/agents/*/events/*/*": of(), "GET /api/v1/receipts/*": receiptAnswer() });
  await screen.getByRole("button", { name: "Try again" }).click();
  await expect.element(screen.getByRole("article", { name: "Event e-1" })).toBeVisible();
});

test("its figures and names are those that it has, and lead to events with the same", async () => {
  const { screen } = await open({
    "GET /api/v1/agents/*/events/*/*": of({
      ...event(),
      agent_id: "team/a:b",
      response_time_ms: 840,
      token_count: 312,
      input_tokens: 300,
      output_tokens: 12,
      cost_usd: 0.0031,
      cost_estimated: true,
      user_id: "u 1",
      model_used: "gpt-5",
    }),
    "GET /api/v1/receipts/*": receiptAnswer(),
  });
  const article = screen.getByRole("article");
  await expect.element(article).toMatchTextContent(/Response time840 msTokens312300 in, 12 outCost\$0.0031from model and tokens/);
  await expect.element(article).not.toMatchTextContent(/Feedback|Session/);
  await expect.element(screen.getByRole("link", { name: "u 1" })).toHaveAttribute("href", "/events?filter=user:%22u+1%22");
});
