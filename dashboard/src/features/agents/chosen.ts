/** Some agents by their ids, searched, filtered and ordered as the API does it for all. Pure. */
import type { AgentStatus, AgentSummary, StatusCounts } from "@/api/generated.ts";
import { agentOrder } from "@/components/agent-columns.ts";

export interface AgentsFilter {
  /** Part of the id; empty for any. */
  q: string;
  /** Empty for any. */
  statuses: readonly AgentStatus[];
  /** Column, with `-` in front for the largest first. */
  sort: string;
}

export interface FoundAgents {
  items: AgentSummary[];
  counts: StatusCounts;
}

export function findAgents(agents: readonly AgentSummary[], { q, statuses, sort }: AgentsFilter): FoundAgents {
  const counts = { healthy: 0, degraded: 0, failing: 0, silent: 0 };
  const items: AgentSummary[] = [];
  const part = q.toLowerCase();
  for (const agent of agents) {
    if (!agent.agent_id.toLowerCase().includes(part)) continue;
    counts[agent.status]++;
    if (statuses.length === 0 || statuses.includes(agent.status)) items.push(agent);
  }
  return { items: items.sort(agentOrder(sort)), counts };
}
