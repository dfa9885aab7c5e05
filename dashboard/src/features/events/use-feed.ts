/** The feed of the page: made once, filled anew when the question put to the server changes. */
import { type QueryClient, queryOptions, useQueries, useQueryClient } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useState, useSyncExternalStore } from "react";
import { agentsQuery } from "@/api/queries.ts";
import { useCommon } from "@/lib/common.ts";
import { liveClient } from "@/lib/live.ts";
import { isoTime, rangeKey, spanOf } from "@/lib/range.ts";
import { EventFeed } from "./feed.ts";
import type { Term } from "./filter.ts";
import { type AgentMatch, type Plan, planOf } from "./plan.ts";
import { Session } from "./session.ts";

export interface FeedPage {
  feed: EventFeed;
  /** Absent until it is known which agents are meant. */
  session: Session | undefined;
  plan: Plan | undefined;
  /** Asks for everything again. */
  reload: () => void;
}

/** Agents of a part of a name that are asked for one by one. */
const MOST_MATCHES = 20;

/** Which agents are meant by a text behind `agent:`. */
const agentMatchQuery = (client: QueryClient, part: string) =>
  queryOptions({
    queryKey: ["agent-match", part],
    queryFn: async (): Promise<AgentMatch> => {
      const ask = async (q: string) =>
        (await client.fetchInfiniteQuery({ ...agentsQuery({ q, sort: "agent_id", limit: MOST_MATCHES }), staleTime: 0 }))
          .pages[0];
      const page = await ask(part);
      const ids = page?.items.map((agent) => agent.agent_id) ?? [];
      if (!page?.next_key) return { isExact: ids.includes(part), ids };
      // Too many; but of those that begin so, the one that is exactly this comes first.
      return { isExact: (await ask(`${part}*`))?.items[0]?.agent_id === part, ids: null };
    },
    // An agent that is there stays; one that is not may come.
    staleTime: (query) => (query.state.data?.isExact ? 60_000 : 0),
    retry: false,
  });

export function useFeed(terms: readonly Term[]): FeedPage {
  const { agents, range } = useCommon();
  const client = useQueryClient();
  const [feed] = useState(() => new EventFeed());
  const [session, setSession] = useState<Session>();
  const [loads, setLoads] = useState(0);

  // Which of the page's own agents are meant is known without asking.
  const parts = useMemo(
    () =>
      agents.length > 0
        ? []
        : [...new Set(terms.flatMap((term) => (term.kind === "is" && term.field === "agent" ? [term.value] : [])))],
    [terms, agents],
  );
  const lookUps = useQueries({ queries: parts.map((part) => agentMatchQuery(client, part)), combine: combineMatches });
  const plan = useMemo(() => {
    if (lookUps.isPending) return undefined;
    return planOf(terms, agents, new Map(parts.flatMap((part, i) => (lookUps.found[i] ? [[part, lookUps.found[i]]] : []))));
  }, [terms, agents, parts, lookUps]);

  useEffect(() => {
    if (plan) feed.setFilter(plan.matches);
  }, [feed, plan]);

  const isFilteredHere = (plan?.local.length ?? 0) > 0;
  const key = plan && `${plan.serverKey} ${rangeKey(range)} ${loads}`;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key stands for all that the server is asked
  useEffect(() => {
    if (!plan) return;
    const span = spanOf(range, Date.now());
    const next = new Session(
      feed,
      {
        sources: plan.sources,
        streamedSources: plan.streamedSources,
        stream: plan.stream,
        start: isoTime(span.start),
        end: "preset" in range ? undefined : isoTime(span.end),
        isLive: span.isLive,
      },
      client,
      liveClient,
    );
    next.isFilteredHere = isFilteredHere;
    feed.clear();
    setSession(next);
    return next.start();
  }, [feed, client, key]);

  useEffect(() => {
    if (session) session.isFilteredHere = isFilteredHere;
  }, [session, isFilteredHere]);

  const reload = useCallback(() => setLoads((n) => n + 1), []);
  return { feed, session, plan, reload };
}

/** Answers of all look-ups; what could not be asked is looked for by the browser. */
function combineMatches(results: { isPending: boolean; data: AgentMatch | undefined }[]) {
  return { isPending: results.some((result) => result.isPending), found: results.map((result) => result.data) };
}

/** Renders again when the feed says so, at most four times a second. */
export function useFeedVersion(feed: EventFeed): number {
  return useSyncExternalStore(feed.subscribe, feed.getVersion);
}
