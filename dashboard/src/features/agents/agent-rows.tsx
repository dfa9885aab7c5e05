import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useRef } from "react";
import type { AgentSummary } from "@/api/generated.ts";
import { AGENT_ROW_PX, AgentTable } from "@/components/agent-table.tsx";
import { cn } from "@/lib/cn.ts";
import { useChangeSearch } from "@/lib/common.ts";
import type { AgentsFilter } from "./chosen.ts";

interface AgentRowsProps {
  items: readonly AgentSummary[];
  total: number;
  filter: AgentsFilter;
  /** Whether these answer the question before, while the answer to this one is on its way. */
  isOld: boolean;
  onMore: (() => void) | undefined;
}

/** Up to so many rows are all drawn: the browser's own search then finds every one. */
const MOST_DRAWN = 100;
/** Rows before the end at which the next page is asked for. */
const AHEAD = 60;

export function AgentRows({ items, total, filter, isOld, onMore }: AgentRowsProps) {
  const change = useChangeSearch();
  const scroller = useRef<HTMLElement>(null);
  const rows = useVirtualizer({
    count: items.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => AGENT_ROW_PX,
    overscan: 8,
  });
  const drawn = rows.getVirtualItems();
  const [first, last] = [drawn[0], drawn.at(-1)];
  const isNearEnd = last !== undefined && last.index >= items.length - AHEAD;

  useEffect(() => {
    if (isNearEnd) onMore?.();
  }, [isNearEnd, onMore]);
  // Another question: its answer begins at the top.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the filter is what it is about
  useEffect(() => {
    if (scroller.current) scroller.current.scrollTop = 0;
  }, [filter]);

  const onSort = useCallback((next: string) => change({ sort: next }), [change]);
  const onScope = useCallback((agentId: string) => change({ agents: [agentId] }), [change]);
  const isLong = items.length > MOST_DRAWN && first !== undefined && last !== undefined;
  return (
    <section
      ref={scroller}
      aria-label="List of agents"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
      tabIndex={0}
      aria-busy={isOld}
      className={cn("min-h-0 flex-1 overflow-y-auto overflow-x-hidden", isOld && "opacity-60 transition-opacity delay-200")}
    >
      <AgentTable
        agents={isLong ? items.slice(first.index, last.index + 1) : items.slice(0, MOST_DRAWN)}
        slice={isLong ? { first: first.index, total, above: first.start, below: rows.getTotalSize() - last.end } : undefined}
        sort={filter.sort}
        onSort={onSort}
        onScope={onScope}
      />
    </section>
  );
}
