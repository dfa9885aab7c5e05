/** The agents to show: pages of all, or those that the bar names. Both as one list. */
import { keepPreviousData, type UseQueryResult, useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useMemo } from "react";
import type { AgentSummary, StatusCounts } from "@/api/generated.ts";
import { ApiError } from "@/api/http.ts";
import { agentsQuery, chosenAgentsQuery } from "@/api/queries.ts";
import { useCommon } from "@/lib/common.ts";
import { type AgentsFilter, findAgents } from "./chosen.ts";

export interface AgentsList {
  /** What is loaded so far. */
  items: readonly AgentSummary[];
  /** Agents that the filter takes, loaded or not. */
  total: number;
  /** By status, of those that the search takes. */
  counts: StatusCounts;
  firstDay: string;
  lastDay: string;
  /** Whether the range begins before the days of which agents are held side by side. */
  isTooOld?: boolean;
}

const TOO_OLD: AgentsList = {
  items: [],
  total: 0,
  counts: { healthy: 0, degraded: 0, failing: 0, silent: 0 },
  firstDay: "",
  lastDay: "",
  isTooOld: true,
};

export interface FoundList {
  query: UseQueryResult<AgentsList, Error>;
  /** Agents there are without any filter; undefined while that is not known. */
  of: number | undefined;
  /** Loads the next page, where there is one and none is under way. */
  onMore: (() => void) | undefined;
  /** Whether the list is too long to be kept up to date by itself. */
  isStill: boolean;
}

const PAGE = 200;
/** Longer lists are brought up to date only when asked: every page would be read again each time. */
const MOST_LIVE = 3 * PAGE;

export function useAgents(filter: AgentsFilter): FoundList {
  const { agents } = useCommon();
  const all = useAllAgents(filter, agents.length === 0);
  const chosen = useChosenAgents(filter, agents);
  return agents.length === 0 ? all : chosen;
}

function useAllAgents({ q, statuses, sort }: AgentsFilter, isEnabled: boolean): FoundList {
  const { range } = useCommon();
  const asked = agentsQuery({ q: q || undefined, status: statuses.join(",") || undefined, sort, limit: PAGE, range });
  const loaded = useQueryClient().getQueryData(asked.queryKey)?.pages.length ?? 0;
  const isStill = loaded * PAGE > MOST_LIVE;
  const found = useInfiniteQuery({
    ...asked,
    ...(isStill && { meta: {}, refetchOnMount: false }),
    enabled: isEnabled,
    placeholderData: keepPreviousData,
  });
  const any = useInfiniteQuery({ ...agentsQuery({ limit: 1 }), enabled: isEnabled });
  const data = useMemo((): AgentsList | undefined => {
    const last = found.data?.pages.at(-1);
    if (!last) return isRefusal(found.error) ? TOO_OLD : undefined;
    const items = found.data?.pages.flatMap((page) => page.items) ?? [];
    return { items, total: last.total, counts: last.status_counts, firstDay: last.first_day, lastDay: last.last_day };
  }, [found.data, found.error]);
  const hasMore = found.hasNextPage && !found.isFetchingNextPage && !found.isPlaceholderData;
  return {
    query: asQuery(found, data),
    of: any.data?.pages[0]?.total,
    onMore: hasMore ? () => void found.fetchNextPage() : undefined,
    isStill,
  };
}

function useChosenAgents(filter: AgentsFilter, agents: readonly string[]): FoundList {
  const { range } = useCommon();
  const chosen = useQuery({
    ...chosenAgentsQuery(agents, range),
    enabled: agents.length > 0,
    placeholderData: keepPreviousData,
  });
  const data = useMemo((): AgentsList | undefined => {
    if (!chosen.data) return isRefusal(chosen.error) ? TOO_OLD : undefined;
    const { items, counts } = findAgents(chosen.data, filter);
    const [first] = chosen.data;
    return { items, total: items.length, counts, firstDay: first?.first_day ?? "", lastDay: first?.last_day ?? "" };
  }, [chosen.data, chosen.error, filter]);
  return { query: asQuery(chosen, data), of: agents.length, onMore: undefined, isStill: false };
}

/** Whether it is the days that are refused. */
function isRefusal(error: Error | null): boolean {
  return error instanceof ApiError && error.status === 422 && error.fields.some(({ field }) => /^(start|end)_date$/.test(field));
}

/** The same state of a question, with its answer in another form. */
function asQuery(query: object, data: AgentsList | undefined): UseQueryResult<AgentsList, Error> {
  return { ...query, data, ...(data?.isTooOld && { isError: false }) } as UseQueryResult<AgentsList, Error>;
}
