import { expect, test } from "vitest";
import type { AgentStatus, AgentSummary } from "@/api/generated.ts";
import { findAgents } from "./chosen.ts";

function agent(agent_id: string, status: AgentStatus, cost_usd: number | null): AgentSummary {
  return { agent_id, status, cost_usd } as AgentSummary;
}

const AGENTS = [
  agent("b-bot", "failing", 2),
  agent("a-bot", "healthy", null),
  agent("C-Bot", "healthy", 5),
  agent("other", "silent", 2),
];
const ids = (filter: Partial<Parameters<typeof findAgents>[1]>) =>
  findAgents(AGENTS, { q: "", statuses: [], sort: "agent_id", ...filter }).items.map((each) => each.agent_id);

test("agents without a value come last, whichever way the others are sorted", () => {
  expect(ids({ sort: "cost_usd" })).toEqual(["b-bot", "other", "C-Bot", "a-bot"]);
  expect(ids({ sort: "-cost_usd" })).toEqual(["C-Bot", "b-bot", "other", "a-bot"]);
});

test("the search does not care about capitals", () => {
  expect(ids({ q: "BOT" })).toEqual(["C-Bot", "a-bot", "b-bot"]);
});

test("counts are of what the search takes, whatever status is asked for", () => {
  const found = findAgents(AGENTS, { q: "bot", statuses: ["failing"], sort: "agent_id" });
  expect(found.items.map((each) => each.agent_id)).toEqual(["b-bot"]);
  expect(found.counts).toEqual({ healthy: 2, degraded: 0, failing: 1, silent: 0 });
});
