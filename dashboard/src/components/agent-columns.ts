/** The numbers that a list of agents shows: their names, units and order. Pure. */
import type { AgentSummary } from "@/api/generated.ts";
import type { Table } from "@/lib/csv.ts";
import type { Unit } from "@/lib/format.ts";

export interface AgentColumn {
  /** As the API sorts by it. */
  sort: string;
  title: string;
  unit: Unit;
  value: (agent: AgentSummary) => number | null;
  /** How wide the list must be to show it; always shown where absent. */
  from?: "medium" | "wide";
}

export const AGENT_COLUMNS: readonly AgentColumn[] = [
  { sort: "total_messages", title: "Messages", unit: "count", value: (a) => a.total_messages },
  { sort: "total_errors", title: "Errors", unit: "count", value: (a) => a.total_errors, from: "medium" },
  { sort: "error_rate", title: "Error rate", unit: "percent", value: (a) => a.error_rate * 100 },
  {
    sort: "average_response_time_ms",
    title: "Mean time",
    unit: "ms",
    value: (a) => a.average_response_time_ms,
    from: "medium",
  },
  { sort: "total_tokens_used", title: "Tokens", unit: "count", value: (a) => a.total_tokens_used, from: "wide" },
  { sort: "cost_usd", title: "Cost", unit: "usd", value: (a) => a.cost_usd, from: "medium" },
  { sort: "average_feedback_score", title: "Feedback", unit: "points", value: (a) => a.average_feedback_score, from: "wide" },
];

/** Everything a list can be sorted by, with names to show. */
export const AGENT_SORTS: readonly { sort: string; title: string; isText?: boolean }[] = [
  { sort: "agent_id", title: "Agent", isText: true },
  ...AGENT_COLUMNS,
  { sort: "last_seen", title: "Last seen" },
];

/** What a column does when it is chosen: names begin at A, numbers with the largest. */
export function firstOrder(sort: string, isText = false): string {
  return isText ? sort : `-${sort}`;
}

/** The order that the API puts agents in: those without a value come last, of equals the first name comes first. */
export function agentOrder(sort: string): (a: AgentSummary, b: AgentSummary) => number {
  const isDescending = sort.startsWith("-");
  const name = isDescending ? sort.slice(1) : sort;
  const byName = (a: AgentSummary, b: AgentSummary) => (a.agent_id < b.agent_id ? -1 : a.agent_id > b.agent_id ? 1 : 0);
  if (name === "agent_id") return isDescending ? (a, b) => byName(b, a) : byName;
  const value =
    name === "last_seen"
      ? (a: AgentSummary) => (a.last_seen === null ? null : Date.parse(a.last_seen))
      : AGENT_COLUMNS.find((column) => column.sort === name)?.value;
  if (!value) return byName;
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === y) return byName(a, b);
    if (x === null) return 1;
    if (y === null) return -1;
    return isDescending ? y - x : x - y;
  };
}

/** The list as a file has it. */
export function agentsTable(agents: readonly AgentSummary[]): Table {
  const title = ({ title, unit }: AgentColumn) => (unit === "count" || unit === "points" ? title : `${title} (${unit})`);
  return {
    columns: ["Agent", "Status", "Rule", ...AGENT_COLUMNS.map(title), "Last seen"],
    rows: agents.map((a) => [a.agent_id, a.status, a.status_rule, ...AGENT_COLUMNS.map((c) => c.value(a)), a.last_seen]),
  };
}
