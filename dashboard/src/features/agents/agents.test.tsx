import { describe, expect, test } from "vitest";
import { userEvent } from "vitest/browser";
import type { AgentSummary } from "@/api/generated.ts";
import { type Asked, FakeApi, Refusal, refusal } from "@/testing/api.ts";
import { agent, agentAnswer, agentsPage } from "@/testing/examples.ts";
import { tryPanelStates } from "@/testing/panel-states.tsx";
import { show } from "@/testing/render.tsx";
import { Agents } from "./agents.tsx";

const FLEET = [
  agent("billing", { total_messages: 30, cost_usd: 1 }),
  agent("search", { total_messages: 20, cost_usd: 3, status: "failing", status_rule: "errors at 60 % of messages" }),
  agent("support", { total_messages: 10, cost_usd: 2 }),
];

/** As the server does it: searched, picked by status, ordered by messages or cost. */
function found(fleet: AgentSummary[]): (asked: Asked) => ReturnType<typeof agentsPage> {
  return ({ parameters }) => {
    const [q, status, sort = ""] = ["q", "status", "sort"].map((name) => parameters.get(name) ?? "");
    const items = fleet
      .filter((each) => each.agent_id.includes(q ?? "") && (!status || status.split(",").includes(each.status)))
      .sort((a, b) => (sort.endsWith("cost_usd") ? (b.cost_usd ?? 0) - (a.cost_usd ?? 0) : b.total_messages - a.total_messages));
    if (!sort.startsWith("-")) items.reverse();
    return agentsPage(items);
  };
}

async function open(url = "/agents") {
  const api = new FakeApi({
    "GET /api/v1/agents": found(FLEET),
    "GET /api/v1/agents/*": ({ parts: [id = ""] }) => {
      const known = FLEET.find((each) => each.agent_id === id);
      return known ? agentAnswer(id, known) : refusal(404, "no such agent");
    },
  });
  const shown = await show(<Agents />, url);
  const names = () => [...shown.screen.container.querySelectorAll("tbody th[scope=row]")].map((cell) => cell.textContent?.trim());
  return { ...shown, api, names };
}

test("what is typed is searched for by the server, and is in the address when the typing rests", async () => {
  const { screen, names, search } = await open();
  await expect.poll(names).toEqual(["billing", "search", "support"]);
  await screen.getByRole("searchbox", { name: "Search agents" }).fill("s");
  await expect.poll(names).toEqual(["search", "support"]);
  await userEvent.keyboard("u");
  await expect.poll(names).toEqual(["support"]);
  await expect.poll(() => search().q).toBe("su");
  await expect.element(screen.getByText(/^1 of 3 agents/)).toBeVisible();
});

test("a status picks the agents that have it, and a second click lets all in again", async () => {
  const { screen, names, search } = await open();
  await screen.getByRole("button", { name: /^Failing 1$/ }).click();
  await expect.poll(names).toEqual(["search"]);
  expect(search().status).toBe("failing");
  await screen.getByRole("button", { name: /^Failing/ }).click();
  await expect.poll(names).toEqual(["billing", "search", "support"]);
});

test("a column sorts by its largest first, then by its smallest", async () => {
  const { screen, names } = await open();
  const head = screen.getByRole("columnheader", { name: "Cost" });
  await head.getByRole("button").click();
  await expect.poll(names).toEqual(["search", "support", "billing"]);
  await expect.element(head).toHaveAttribute("aria-sort", "descending");
  await head.getByRole("button").click();
  await expect.poll(names).toEqual(["billing", "support", "search"]);
  await expect.element(head).toHaveAttribute("aria-sort", "ascending");
  await expect.element(screen.getByRole("columnheader", { name: "Messages" })).not.toHaveAttribute("aria-sort");
});

test("of many agents only those in sight are drawn, and further pages come as one scrolls", async () => {
  const many = Array.from({ length: 450 }, (_, i) => agent(`agent-${i}`, { total_messages: 1_000 - i }));
  const api = new FakeApi({
    "GET /api/v1/agents": ({ parameters }) => {
      const from = Number(parameters.get("cursor") ?? 0);
      const to = from + Number(parameters.get("limit"));
      return agentsPage(many.slice(from, to), { total: many.length, next_key: to < many.length ? String(to) : null });
    },
  });
  const { screen } = await show(<Agents />, "/agents");
  const list = screen.getByRole("region", { name: "List of agents" });
  await expect.element(screen.getByText(/^450 agents, 200 loaded/)).toBeVisible();
  expect(list.element().querySelectorAll("tbody tr").length).toBeLessThan(80);
  await expect.element(list.getByRole("table")).toHaveAttribute("aria-rowcount", "451");
  for (const loaded of ["400", "450"]) {
    list.element().scrollTop = list.element().scrollHeight;
    await expect.element(screen.getByText(loaded === "450" ? /^450 agents ·/ : /^450 agents, 400 loaded/)).toBeVisible();
  }
  list.element().scrollTop = list.element().scrollHeight;
  await expect.element(list.getByRole("link", { name: "agent-449" })).toBeVisible();
  expect(list.element().querySelectorAll("tbody tr").length).toBeLessThan(80);
  expect(api.of("GET /api/v1/agents").filter((asked) => asked.parameters.get("cursor") === "200")).toHaveLength(1);
});

test("the agents of the bar are read one by one, those never seen left out", async () => {
  const { names, screen, search } = await open("/agents?agents=support,nobody,billing");
  await expect.poll(names).toEqual(["billing", "support"]);
  await screen.getByRole("button", { name: "Show all agents" }).click();
  await expect.poll(names).toEqual(["billing", "search", "support"]);
  expect(search().agents).toBeUndefined();
});

test("one agent can be made the page's", async () => {
  const { screen, search } = await open();
  await screen.getByRole("button", { name: "Only support" }).click();
  await expect.poll(() => search().agents).toBe("support");
});

describe("the panel", () => {
  const days = new Refusal({
    status: 422,
    detail: "start_date lies too far back",
    errors: [{ field: "start_date", detail: "too far back", index: 0 }],
  });
  tryPanelStates({
    page: () => <Agents />,
    url: "/agents",
    panel: "Agents",
    question: "GET /api/v1/agents",
    answer: () => agentsPage(FLEET),
    seen: "support",
    rest: () => ({}),
    empty: {
      "nobody has posted": { answer: () => agentsPage([]), says: "No agent has posted anything yet." },
      "the search finds none": {
        answer: () => agentsPage([]),
        url: "/agents?q=xyz",
        says: "No agent’s name contains “xyz”.",
      },
      "none has the status": {
        answer: () => agentsPage([]),
        url: "/agents?status=failing,silent",
        says: "No agent is failing or silent.",
      },
      "the days are too long ago": { answer: () => days, says: /compared side by side over the last weeks only/ },
    },
  });
});
