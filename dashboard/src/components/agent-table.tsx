/** Agents with their numbers; each column sorts. Shows as many columns as there is room for. */
import { Link } from "@tanstack/react-router";
import { ArrowDown, ArrowUp, Filter } from "lucide-react";
import { memo } from "react";
import type { AgentSummary } from "@/api/generated.ts";
import { cn } from "@/lib/cn.ts";
import { AGENT_COLUMNS, type AgentColumn, firstOrder } from "./agent-columns.ts";
import { Sparkline } from "./sparkline.tsx";
import { Status, StatusDot } from "./status.tsx";
import { Button } from "./ui/button.tsx";
import { Tooltip } from "./ui/tooltip.tsx";
import { Ago, Value } from "./value.tsx";

/** Every row is as high, so that a long list knows where each is, px. */
export const AGENT_ROW_PX = 33;

/** Shown from a width of the list on, whatever the screen's. */
const SHOWN = {
  always: "",
  narrow: "hidden @md:table-cell",
  small: "hidden @xl:table-cell",
  medium: "hidden @[46rem]:table-cell",
  wide: "hidden @5xl:table-cell",
} as const;
const WIDTHS: Record<string, string> = {
  total_messages: "w-20",
  total_errors: "w-18",
  error_rate: "w-20 @md:w-21",
  cost_usd: "w-19",
};

/** The part of a longer list that is drawn, and the room for what is not. */
export interface AgentSlice {
  /** Place of the first agent drawn, from 0. */
  first: number;
  total: number;
  /** px. */
  above: number;
  /** px. */
  below: number;
}

interface AgentTableProps {
  agents: readonly AgentSummary[];
  /** Where `agents` are a part of a longer list. */
  slice?: AgentSlice;
  /** Column, with `-` in front for the largest first. */
  sort: string;
  onSort: (sort: string) => void;
  /** Restricts the page to one agent. */
  onScope: (agentId: string) => void;
}

export function AgentTable({ agents, slice, sort, onSort, onScope }: AgentTableProps) {
  const head = { sort, onSort };
  return (
    <div className="@container">
      <table className="w-full table-fixed" aria-rowcount={slice && slice.total + 1}>
        <thead className="sticky top-0 z-10 bg-card text-xs">
          <tr aria-rowindex={slice && 1}>
            <SortHead {...head} name="agent_id" title="Agent" isText />
            <th scope="col" className={cn("w-26 px-2 py-1 text-left font-normal text-muted-foreground", SHOWN.narrow)}>
              Status
            </th>
            {AGENT_COLUMNS.map((column) => (
              <SortHead
                key={column.sort}
                {...head}
                name={column.sort}
                title={column.title}
                className={cn(WIDTHS[column.sort] ?? "w-21", SHOWN[column.from ?? "always"])}
              />
            ))}
            <th scope="col" className={cn("w-22 px-2 py-1 text-right font-normal text-muted-foreground", SHOWN.wide)}>
              14 days
            </th>
            <SortHead {...head} name="last_seen" title="Last seen" className={cn("w-24", SHOWN.small)} />
            <td className={cn("w-7", SHOWN.narrow)} />
          </tr>
        </thead>
        <tbody>
          {slice && slice.above > 0 && <Gap height={slice.above} />}
          {agents.map((agent, i) => (
            <AgentRow key={agent.agent_id} agent={agent} index={slice && slice.first + i + 2} onScope={onScope} />
          ))}
          {slice && slice.below > 0 && <Gap height={slice.below} />}
        </tbody>
      </table>
    </div>
  );
}

function Gap({ height }: { height: number }) {
  return (
    <tr aria-hidden>
      <td style={{ height }} />
    </tr>
  );
}

interface AgentRowProps {
  agent: AgentSummary;
  /** Place in the whole list, the head being 1. */
  index: number | undefined;
  onScope: (agentId: string) => void;
}

const AgentRow = memo(function AgentRow({ agent, index, onScope }: AgentRowProps) {
  return (
    <tr aria-rowindex={index} className="h-[33px] border-t hover:bg-muted/60">
      <th scope="row" className="pr-2 text-left font-medium">
        <span className="flex items-center gap-1.5">
          <span className="contents @md:hidden">
            <StatusDot status={agent.status} />
          </span>
          <Link
            to="/agents/$agentId"
            params={{ agentId: agent.agent_id }}
            className="link block min-w-0 truncate py-0.75"
            title={agent.agent_id}
          >
            {agent.agent_id}
          </Link>
        </span>
      </th>
      <td className={cn("px-2", SHOWN.narrow)}>
        <Status status={agent.status} rule={agent.status_rule} />
      </td>
      {AGENT_COLUMNS.map((column) => (
        <NumberCell key={column.sort} column={column} agent={agent} />
      ))}
      <td className={cn("pl-2", SHOWN.wide)}>
        <Sparkline values={agent.calls_by_day} width={64} height={20} className="ml-auto" />
      </td>
      <td className={cn("truncate px-2 text-right text-muted-foreground", SHOWN.small)}>
        <Ago time={agent.last_seen} />
      </td>
      <td className={cn("text-right", SHOWN.narrow)}>
        <Tooltip text="Only this agent">
          <Button variant="ghost" size="small-icon" aria-label={`Only ${agent.agent_id}`} onClick={() => onScope(agent.agent_id)}>
            <Filter />
          </Button>
        </Tooltip>
      </td>
    </tr>
  );
});

function NumberCell({ column, agent }: { column: AgentColumn; agent: AgentSummary }) {
  return (
    <td className={cn("truncate px-2 text-right", SHOWN[column.from ?? "always"])}>
      <Value value={column.value(agent)} unit={column.unit} />
    </td>
  );
}

interface SortHeadProps {
  name: string;
  title: string;
  sort: string;
  onSort: (sort: string) => void;
  isText?: boolean;
  className?: string;
}

function SortHead({ name, title, sort, onSort, isText = false, className }: SortHeadProps) {
  const direction = sort === name ? "ascending" : sort === `-${name}` ? "descending" : undefined;
  // A second click turns the order round.
  const next = direction === undefined ? firstOrder(name, isText) : direction === "ascending" ? `-${name}` : name;
  return (
    <th
      scope="col"
      aria-sort={direction}
      className={cn("py-1 font-normal", isText ? "pr-2 text-left" : "px-2 text-right", className)}
    >
      <button
        type="button"
        onClick={() => onSort(next)}
        className={cn(
          "inline-flex min-h-6 items-center gap-0.5 whitespace-nowrap hover:text-foreground [&_svg]:size-3",
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
