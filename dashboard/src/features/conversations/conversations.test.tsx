import { describe, expect, test } from "vitest";
import { userEvent } from "vitest/browser";
import { DAY, HOUR } from "@/lib/range.ts";
import { FakeApi } from "@/testing/api.ts";
import { agent, agentsPage, ago, conversation, conversationsAnswer } from "@/testing/examples.ts";
import { tryPanelStates } from "@/testing/panel-states.tsx";
import { show } from "@/testing/render.tsx";
import { Conversations } from "./conversations.tsx";

const TALKS = [
  conversation("c-3", { status: "error", errorCount: 1 }),
  conversation("c-2", { agent_id: "a-2" }),
  conversation("c-1", { title: null }),
];

async function open(answer = conversationsAnswer(TALKS), url = "/conversations") {
  const api = new FakeApi({ "GET /api/v1/conversations": answer, "GET /api/v1/agents": agentsPage([agent("a-1")]) });
  const shown = await show(<Conversations />, url);
  const rows = () => [...shown.screen.container.querySelectorAll("tbody th")].map((cell) => cell.textContent);
  return { ...shown, api, rows };
}

test("they are listed by what was said first, else by their id, and lead to their page", async () => {
  const { screen, rows } = await open();
  await expect.poll(rows).toEqual(["Talk c-3", "Talk c-2", "c-1"]);
  await expect.element(screen.getByRole("link", { name: "Talk c-2" })).toHaveAttribute("href", "/conversations/c-2?agent=a-2");
  await expect.element(screen.getByText("All 3 in this range.")).toBeVisible();
});

test("a status is asked of the server", async () => {
  const { screen, api, search } = await open();
  await screen.getByRole("button", { name: "Error", exact: true }).click();
  expect(search().status).toBe("error");
  await expect.poll(() => api.of("GET /api/v1/conversations").at(-1)?.parameters.get("status")).toBe("error");
});

test("of several agents they are looked for among everybody's", async () => {
  const { screen, rows } = await open(conversationsAnswer(TALKS, { has_more: true }), "/conversations?agents=a-2,a-3");
  await expect.poll(rows).toEqual(["Talk c-2"]);
  await expect.element(screen.getByText(/^1 of the 2 agents chosen, found among the newest 3 of all agents/)).toBeVisible();
  await screen.getByRole("button", { name: "Look among 300" }).click();
});

test("of hundreds only those in sight are drawn, and the arrow keys reach all", async () => {
  const many = Array.from({ length: 500 }, (_, i) => conversation(`c-${i}`, { startedAt: ago(HOUR + i) }));
  const { screen, rows } = await open(conversationsAnswer(many));
  await expect.poll(() => rows()[0]).toBe("Talk c-0");
  expect(rows().length).toBeLessThan(80);
  (screen.getByRole("link", { name: "Talk c-0" }).element() as HTMLElement).focus();
  await userEvent.keyboard("{End}");
  await expect.element(screen.getByRole("link", { name: "Talk c-499" })).toHaveFocus();
  await userEvent.keyboard("{ArrowUp}");
  await expect.element(screen.getByRole("link", { name: "Talk c-498" })).toHaveFocus();
});

test("a newer one waits above for whoever has scrolled, and is shown when asked for", async () => {
  const many = Array.from({ length: 100 }, (_, i) => conversation(`c-${i}`));
  const { screen, api, refresh, rows } = await open(conversationsAnswer(many));
  const list = screen.getByRole("region", { name: "Conversations, newest first" });
  await expect.poll(() => rows()[0]).toBe("Talk c-0");
  list.element().scrollTop = 300;
  api.set({ "GET /api/v1/conversations": conversationsAnswer([conversation("new"), ...many]) });
  await refresh();
  const button = screen.getByRole("button", { name: "1 newer" });
  await expect.element(button).toBeVisible();
  expect(rows()).not.toContain("Talk new");
  await button.click();
  await expect.poll(() => rows()[0]).toBe("Talk new");
});

describe("the panel", () => {
  const old = () => ({ "GET /api/v1/agents": agentsPage([agent("a-1", { last_seen: ago(40 * DAY) })]) });
  tryPanelStates({
    page: () => <Conversations />,
    url: "/conversations",
    panel: "Conversations",
    question: "GET /api/v1/conversations",
    answer: () => conversationsAnswer(TALKS),
    seen: "Talk c-3",
    rest: () => ({ "GET /api/v1/agents": agentsPage([agent("a-1")]) }),
    empty: {
      "there were none": { answer: () => conversationsAnswer([]), says: "No data in this range." },
      "the last event lies before": {
        answer: () => conversationsAnswer([]),
        rest: old,
        says: /^No data in this range. The last event came/,
      },
      "none has the status": {
        answer: () => conversationsAnswer([]),
        url: "/conversations?status=active",
        says: "No conversation here has the status active.",
      },
      "none of the chosen agents had one lately": {
        answer: () => conversationsAnswer([conversation("c-1")], { has_more: true }),
        url: "/conversations?agents=a-7,a-8",
        says: /^None of the 2 agents chosen is among the newest/,
      },
    },
  });
});
