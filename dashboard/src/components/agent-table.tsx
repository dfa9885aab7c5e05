/** Agents with their numbers; each column sorts. */
import { Link } from "@tanstack/react-router";
import { ArrowDown, ArrowUp, Filter } from "lucide-react";
import type { AgentSummary } from "@/api/generated.ts";
import { cn } from "@/lib/cn.ts";
import type { Table } from "@/lib/csv.ts";
import type { Unit } from "@/lib/format.ts";
import { Sparkline } from "./sparkline.tsx";
import { Status } from "./status.tsx";
import { Button } from "./ui/button.tsx";
import { Tooltip } from "./ui/tooltip.tsx";
import { Ago, Value } from "./value.tsx";

interface Column {
  /** As the API sorts by it. */
  sort: string;
  title: string;
  unit: Unit;
  value: (agent: AgentSummary) => number | null;
  /** Left out where there is little room. */
  isWide?: boolean;
}

const COLUMNS: readonly Column[] = [
  { sort: "total_messages", title: "Messages", unit: "count", value: (a) => a.total_messages },
  { sort: "total_errors", title: "Errors", unit: "count", value: (a) => a.total_errors },
  { sort: "error_rate", title: "Error rate", unit: "percent", value: (a) => a.error_rate * 100 },
  { sort: "average_response_time_ms", title: "Mean time", unit: "ms", value: (a) => a.average_response_time_ms },
  { sort: "total_tokens_used", title: "Tokens", unit: "count", value: (a) => a.total_tokens_used, isWide: true },
  { sort: "cost_usd", title: "Cost", unit: "usd", value: (a) => a.cost_usd },
  { sort: "average_feedback_score", title: "Feedback", unit: "points", value: (a) => a.average_feedback_score, isWide: true },
];

interface AgentTableProps {
  agents: readonly AgentSummary[];
  /** Column, with `-` in front for the largest first. */
  sort: string;
  onSort: (sort: string) => void;
  /** Restricts the page to one agent. */
  onScope: (agentId: string) => void;
}

export function AgentTable({ agents, sort, onSort, onScope }: AgentTableProps) {
  const head = { sort, onSort };
  return (
    <table className="w-full">
      <thead className="sticky top-0 z-10 bg-card text-xs">
        <tr>
          <SortHead {...head} name="agent_id" title="Agent" isText />
          <th scope="col" className="px-2 py-1 text-left font-normal text-muted-foreground">
            Status
          </th>
          {COLUMNS.map((column) => (
            <SortHead key={column.sort} {...head} name={column.sort} title={column.title} isWide={column.isWide} />
          ))}
          <th scope="col" className="hidden px-2 py-1 text-right font-normal text-muted-foreground md:table-cell">
            14 days
          </th>
          <SortHead {...head} name="last_seen" title="Last seen" />
          <td />
        </tr>
      </thead>
      <tbody>
        {agents.map((agent) => (
          <tr key={agent.agent_id} className="group border-t hover:bg-muted/60">
            <th scope="row" className="max-w-48 py-1.5 pr-2 text-left font-medium">
              <Link
                to="/agents/$agentId"
                params={{ agentId: agent.agent_id }}
                className="link block truncate"
                title={agent.agent_id}
              >
                {agent.agent_id}
              </Link>
            </th>
            <td className="px-2 py-1.5">
              <Status status={agent.status} rule={agent.status_rule} />
            </td>
            {COLUMNS.map((column) => (
              <td key={column.sort} className={cn("px-2 py-1.5 text-right", column.isWide && "hidden md:table-cell")}>
                <Value value={column.value(agent)} unit={column.unit} />
              </td>
            ))}
            <td className="hidden py-1 pl-2 md:table-cell">
              <Sparkline values={agent.calls_by_day} width={64} height={20} className="ml-auto" />
            </td>
            <td className="whitespace-nowrap px-2 py-1.5 text-right text-muted-foreground">
              <Ago time={agent.last_seen} />
            </td>
            <td className="w-6 text-right">
              <Tooltip text="Only this agent">
                <Button
                  variant="ghost"
                  size="small-icon"
                  aria-label={`Only ${agent.agent_id}`}
                  onClick={() => onScope(agent.agent_id)}
                >
                  <Filter />
                </Button>
              </Tooltip>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

interface SortHeadProps {
  name: string;
  title: string;
  sort: string;
  onSort: (sort: string) => void;
  isText?: boolean;
  isWide?: boolean;
}

function SortHead({ name, title, sort, onSort, isText = false, isWide = false }: SortHeadProps) {
  const direction = sort === name ? "ascending" : sort === `-${name}` ? "descending" : undefined;
  // Names begin at A, numbers with the largest; a second click turns either round.
  const next = direction === undefined ? (isText ? name : `-${name}`) : direction === "ascending" ? `-${name}` : name;
  return (
    <th
      scope="col"
      aria-sort={direction}
      className={cn("py-1 font-normal", isText ? "pr-2 text-left" : "px-2 text-right", isWide && "hidden md:table-cell")}
    >
      <button
        type="button"
        onClick={() => onSort(next)}
        className={cn(
          "inline-flex items-center gap-0.5 whitespace-nowrap hover:text-foreground [&_svg]:size-3",
          direction ? "font-medium" : "text-muted-foreground",
        )}
      >
        {title}
        {direction === "ascending" && <ArrowUp aria-hidden />}
        {direction === "descending" && <ArrowDown aria-hidden />}
      </button>
    </th>
  );
}

/** The same as a file has it. */
export function agentsTable(agents: readonly AgentSummary[]): Table {
  return {
    columns: [
      "Agent",
      "Status",
      "Rule",
      ...COLUMNS.map((c) => (c.unit === "count" || c.unit === "points" ? c.title : `${c.title} (${c.unit})`)),
      "Last seen",
    ],
    rows: agents.map((a) => [a.agent_id, a.status, a.status_rule, ...COLUMNS.map((c) => c.value(a)), a.last_seen]),
  };
}
