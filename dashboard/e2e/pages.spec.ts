/** What each page is for. */
import { expect, test } from "./fixtures.ts";
import { firstAgent } from "./pages.ts";

const now = () => new Date().toISOString();

test("agents are found by a part of their name, sorted by any column, and lead to their page", async ({ page, open, fleet }) => {
  const agent = firstAgent(fleet.ledger);
  await open("/agents");
  await page.getByRole("searchbox", { name: "Search agents" }).fill(agent.slice(2));
  await expect(page).toHaveURL(new RegExp(`q=${agent.slice(2)}`));
  await page.getByRole("button", { name: "Cost" }).click();
  await expect(page).toHaveURL(/sort=-cost_usd/);
  await page.getByRole("link", { name: agent, exact: true }).click();
  await expect(page.getByRole("heading", { name: agent, level: 1 })).toBeVisible();
  await expect(page.getByRole("region", { name: "Latency by hour" })).toBeVisible();
});

test("an agent nobody has heard of has a page that says so", async ({ page, open }) => {
  await open("/agents/nobody-of-that-name");
  await expect(page.getByText(/No agent called/)).toBeVisible();
});

test("an agent whose id has slashes and colons has a page", async ({ page, open, fleet }) => {
  await fleet.server.post({ agent_id: "team/a:b@c", message_type: "user_message", timestamp: now(), content: "hello" });
  await open(`/agents/${encodeURIComponent("team/a:b@c")}`);
  await expect(page.getByRole("heading", { name: "team/a:b@c", level: 1 })).toBeVisible();
});

test("live events are filtered by words, come by themselves, and open with their receipt", async ({ page, open, fleet }) => {
  const text = `look for ${Math.random().toString(36).slice(2)}`;
  await open("/events");
  const box = page.locator("[data-page-filter]");
  await expect(box).toBeVisible();
  await page.keyboard.press("/");
  await expect(box).toBeFocused();
  await page.keyboard.type("agent:filtered-agent type:error ms>2000");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/filter=agent:filtered-agent/);
  const event = { agent_id: "filtered-agent", timestamp: now(), message_type: "error", error_details: text };
  await fleet.server.post({ ...event, response_time_ms: 2_500 }, { ...event, response_time_ms: 100, error_details: "too quick" });
  await expect(page.getByText(text)).toBeVisible();
  await expect(page.getByText("too quick")).toBeHidden();
  await page.getByText(text).click();
  await expect(page).toHaveURL(/event=filtered-agent/);
  const drawer = page.getByRole("dialog");
  await expect(drawer.getByText(/counted/i).first()).toBeVisible();
  await page.goBack();
  await expect(drawer).toBeHidden();
});

test("a permalink shows one event, and one that is not there says so", async ({ page, open, fleet }) => {
  const at = now();
  await fleet.server.post({
    agent_id: "linked",
    event_id: "e-1",
    timestamp: at,
    message_type: "user_message",
    content: "<b>as text</b>",
  });
  await open(`/agents/linked/events/${encodeURIComponent(at)}/e-1`);
  await expect(page.getByText("<b>as text</b>")).toBeVisible();
  await open(`/agents/linked/events/${encodeURIComponent(at)}/e-2`);
  await expect(page.getByText(/no such event|not stored yet|There is no/i).first()).toBeVisible();
});

test("a conversation is read from its first message to its last", async ({ page, open, fleet }) => {
  const id = `c-${Math.random().toString(36).slice(2)}`;
  const at = (seconds: number) => new Date(Date.now() - 600_000 + seconds * 1_000).toISOString();
  const common = { agent_id: "talker", conversation_id: id, user_id: "u-1" };
  await fleet.server.post(
    { ...common, timestamp: at(0), message_type: "user_message", content: "What is the weather?" },
    { ...common, timestamp: at(2), message_type: "tool_call", tool_name: "weather", response_time_ms: 120 },
    {
      ...common,
      timestamp: at(4),
      message_type: "agent_response",
      content: "Rain.",
      model_used: "gpt-5-mini",
      token_count: 40,
      response_time_ms: 900,
    },
    { ...common, timestamp: at(300), message_type: "error", error_type: "timeout", error_details: "no answer" },
  );
  await open("/conversations");
  await page.getByRole("link", { name: "What is the weather?" }).first().click();
  await expect(page).toHaveURL(new RegExp(`/conversations/${id}`));
  for (const text of ["What is the weather?", "weather", "Rain.", "no answer"])
    await expect(page.getByText(text, { exact: true }).first()).toBeVisible();
  await expect(page.getByText(/4 min 56 s/).first()).toBeVisible();
});

test("errors are grouped by what they have in common", async ({ page, open, fleet }) => {
  const error = (n: number) => ({
    agent_id: `group-${n}`,
    timestamp: now(),
    message_type: "error",
    error_type: "quota",
    error_details: `user ${n} has ${n * 7} left`,
  });
  await fleet.server.post(error(1), error(2), error(3));
  await open("/errors?type=quota");
  const row = page.getByRole("row").filter({ hasText: "quota" });
  await expect(row).toHaveCount(1);
  await expect(row.getByRole("cell", { name: "3", exact: true })).toBeVisible();
  await row.getByRole("button").or(row.getByRole("link")).first().click();
  await expect(page).toHaveURL(/group=/);
  await expect(
    page
      .getByRole("dialog")
      .getByText(/user \d has \d+ left/)
      .first(),
  ).toBeVisible();
});

test("a receipt tells where its event is", async ({ page, open, fleet }) => {
  const receipt = await fleet.server.post({ agent_id: "sought", message_type: "user_message", timestamp: now(), content: "x" });
  await open("/pipeline");
  await page.getByLabel("A receipt, or an event’s permalink").fill(receipt);
  await page.getByRole("button", { name: "Find" }).click();
  await expect(page.getByText("every number contains it")).toBeVisible();
  await page.getByLabel("A receipt, or an event’s permalink").fill("nonsense");
  await page.getByRole("button", { name: "Find" }).click();
  await expect(page.getByText(/neither a receipt/)).toBeVisible();
});

test("a dead letter is opened, redriven with an id of its own, and says where it went", async ({ page, open, fleet }) => {
  const event = { agent_id: "twice", event_id: "taken", message_type: "user_message", timestamp: now() };
  await fleet.server.post({ ...event, content: "first" });
  const position = await fleet.server.post({ ...event, content: "second" });
  await open("/pipeline");
  const row = page.getByRole("row").filter({ hasText: position });
  await expect(row.getByText("id_conflict")).toBeVisible();
  await row.getByRole("button", { name: position }).click();
  await expect(page).toHaveURL(new RegExp(`dead=${position}`));
  const drawer = page.getByRole("dialog");
  await expect(drawer.getByText("“second”")).toBeVisible();
  await drawer.getByLabel(/An id of its own/).fill("its-own");
  await drawer.getByRole("button", { name: "Redrive" }).click();
  await expect(drawer.getByText(/^Redriven .* as/)).toBeVisible();
  await expect(drawer.getByRole("button", { name: "Redrive again" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(row.getByRole("cell").last()).not.toHaveText("–");
});
