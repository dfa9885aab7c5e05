/** All agents: search, filter, sort; or those that the bar names. */
import { useSearch } from "@tanstack/react-router";
import { useCallback, useDeferredValue, useMemo } from "react";
import type { AgentStatus } from "@/api/generated.ts";
import { STATUSES } from "@/components/status.tsx";
import { useChangeSearch } from "@/lib/common.ts";
import { AgentsPanel } from "./agents-panel.tsx";
import { Filters } from "./filters.tsx";
import { useAgents } from "./use-agents.ts";
import { useSearchText } from "./use-search-text.ts";

export interface AgentsSearch {
  q?: string;
  status?: string;
  sort?: string;
}

export function Agents() {
  const { status = "", sort = "-total_messages" } = useSearch({ strict: false }) as AgentsSearch;
  const change = useChangeSearch();
  const [text, setText] = useSearchText();
  const q = useDeferredValue(text.trim());
  const statuses = useMemo(() => statusesOf(status), [status]);
  const filter = useMemo(() => ({ q, statuses, sort }), [q, statuses, sort]);
  const agents = useAgents(filter);
  const clear = useCallback(() => {
    setText("");
    change({ q: undefined, status: undefined });
  }, [change, setText]);
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Agents</h1>
      <Filters text={text} onText={setText} statuses={statuses} sort={sort} counts={agents.query.data?.counts} />
      <AgentsPanel {...agents} filter={filter} onClear={clear} />
    </div>
  );
}

function statusesOf(text: string): AgentStatus[] {
  const named = text.split(",");
  return STATUSES.filter((status) => named.includes(status));
}
