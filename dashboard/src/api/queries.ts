/** One `queryOptions` per question that the pages ask. How fresh each is kept while the page is live is said here. */

import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { now } from "@/lib/clock.ts";
import type { Zone } from "@/lib/format.ts";
import { hourSpan } from "@/lib/heat.ts";
import { liveClient } from "@/lib/live.ts";
import {
  dayParameters,
  type Interval,
  isoTime,
  type Range,
  rangeKey,
  type Span,
  spanOf,
  spanParameters,
  timeParameters,
} from "@/lib/range.ts";
import {
  type AgentsPage,
  getAgent,
  getConversation,
  getDeadLetter,
  getEvent,
  getGetReadinessUrl,
  getKpis,
  getPipeline,
  getReceipt,
  getReconciliation,
  getSeries,
  getSession,
  getSummary,
  type HealthAnswer,
  type ListAgentsParams,
  type ListEventsParams,
  listAgents,
  listConversations,
  listDeadLetters,
  listErrors,
  listEvents,
  redriveDeadLetter,
} from "./generated.ts";
import { ApiError, request } from "./http.ts";

/**
 * How soon after a change a question is asked again: `fast` within half a second (what a viewer looks at first), `slow` within
 * three, `rare` within thirty (large answers that change little). Without it, and for ranges that have ended, only when it is
 * opened again.
 */
export type Refresh = "fast" | "slow" | "rare";

declare module "@tanstack/react-query" {
  interface Register {
    queryMeta: { refresh?: Refresh };
  }
}

type Agents = readonly string[];

const list = (agents: Agents) => (agents.length > 0 ? agents.join(",") : undefined);
const live = (range: Range, refresh: Refresh) => ({ refresh: "preset" in range || range.to >= now() ? refresh : undefined });

/** Every so many ms, but not on a page that the viewer has stopped. */
const byClock = (ms: number) => () => (liveClient.getState().mode === "paused" ? false : ms);
const isShort = (range: Range) => "preset" in range && (range.preset === "1h" || range.preset === "24h");

/** Asks for a range as of now; the answer says which span that was. */
function atNow<T>(range: Range, ask: (span: Span) => Promise<T>): () => Promise<T & { span: Span }> {
  return async () => {
    const span = spanOf(range, now());
    return { ...(await ask(span)), span };
  };
}

export const sessionQuery = () =>
  queryOptions({ queryKey: ["session"], queryFn: ({ signal }) => getSession({ signal }), staleTime: 60_000 });

export const kpisQuery = (agents: Agents, range: Range) =>
  queryOptions({
    queryKey: ["kpis", agents, rangeKey(range)],
    queryFn: ({ signal }) => atNow(range, (span) => getKpis({ agents: list(agents), ...timeParameters(span) }, { signal }))(),
    // Long ranges are read from many items, and one event more changes them little.
    meta: live(range, isShort(range) ? "fast" : "slow"),
  });

export const seriesQuery = (agents: Agents, range: Range, interval?: Interval) =>
  queryOptions({
    queryKey: ["series", agents, rangeKey(range), interval ?? "auto"],
    queryFn: ({ signal }) =>
      atNow(range, (span) => {
        const width = interval ?? span.interval;
        return getSeries({ agents: list(agents), interval: width, ...spanParameters({ ...span, interval: width }) }, { signal });
      })(),
    meta: live(range, "slow"),
  });

/** The same length right before, point by point, so that a chart can lay one over the other. */
export const previousSeriesQuery = (agents: Agents, range: Range) =>
  queryOptions({
    queryKey: ["series-before", agents, rangeKey(range)],
    queryFn: ({ signal }) =>
      atNow(range, (span) => {
        const length = span.end - span.start;
        return getSeries(
          {
            agents: list(agents),
            interval: span.interval,
            ...spanParameters({ ...span, start: span.start - length, end: span.start }),
          },
          { signal },
        );
      })(),
    meta: live(range, "rare"),
  });

export const summaryQuery = (agents: Agents, range: Range) =>
  queryOptions({
    queryKey: ["summary", agents, rangeKey(range)],
    queryFn: ({ signal }) => atNow(range, (span) => getSummary({ agents: list(agents), ...timeParameters(span) }, { signal }))(),
    meta: live(range, "slow"),
  });

export type AgentsQuestion = Pick<ListAgentsParams, "sort" | "q" | "status"> & { limit?: number; range?: Range };

/** Pages of agents with their numbers of the UTC days that the range touches. */
export const agentsQuery = ({ range, limit = 100, ...question }: AgentsQuestion) =>
  infiniteQueryOptions({
    queryKey: ["agents", question, limit, range ? rangeKey(range) : "today"],
    queryFn: async ({ signal, pageParam }) => {
      const days = range ? dayParameters(spanOf(range, now())) : {};
      const answer = await listAgents({ detail: true, limit, cursor: pageParam, ...question, ...days }, { signal });
      return answer as AgentsPage;
    },
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.next_key ?? undefined,
    meta: { refresh: "slow" },
  });

export const agentQuery = (agentId: string) =>
  queryOptions({
    queryKey: ["agent", agentId],
    queryFn: ({ signal }) => getAgent(agentId, {}, { signal }),
    meta: { refresh: "fast" },
  });

/** Agents by their ids, with their numbers of the UTC days that the range touches; those never seen are left out. */
export const chosenAgentsQuery = (agentIds: Agents, range: Range) =>
  queryOptions({
    queryKey: ["chosen-agents", agentIds, rangeKey(range)],
    queryFn: ({ signal }) => {
      const days = dayParameters(spanOf(range, now()));
      const unlessUnknown = (error: unknown) => {
        if (error instanceof ApiError && error.status === 404) return undefined;
        throw error;
      };
      return Promise.all(agentIds.map((id) => getAgent(id, days, { signal }).catch(unlessUnknown)));
    },
    select: (answers) => answers.filter((answer) => answer !== undefined),
    meta: { refresh: "slow" },
  });

/** One agent's numbers hour by hour, over whole days of the zone; see `hourSpan`. */
export const hoursQuery = (agentId: string, range: Range, zone: Zone) =>
  queryOptions({
    queryKey: ["hours", agentId, rangeKey(range), zone],
    queryFn: async ({ signal }) => {
      const at = now();
      const { start, end } = hourSpan(spanOf(range, at), at, zone);
      return getSeries({ agents: agentId, interval: "hour", start_date: isoTime(start), end_date: isoTime(end) }, { signal });
    },
    meta: live(range, "rare"),
  });

/** The newest raw events of the range. */
export const latestEventsQuery = (question: Omit<ListEventsParams, "start_date" | "end_date" | "cursor">, range: Range) =>
  queryOptions({
    queryKey: ["latest-events", question, rangeKey(range)],
    queryFn: ({ signal }) => atNow(range, (span) => listEvents({ ...question, ...timeParameters(span) }, { signal }))(),
    meta: live(range, "slow"),
  });

/**
 * One page of raw events between fixed times, for a page that keeps its rows itself. The times must stay the same from page to
 * page: a cursor is good for the question that it came with and no other.
 */
export const eventsPageQuery = (question: ListEventsParams) =>
  queryOptions({
    queryKey: ["events-page", question],
    queryFn: ({ signal }) => listEvents(question, { signal }),
    staleTime: 0,
    gcTime: 0,
  });

export const eventQuery = (agentId: string, timestamp: string, eventId: string) =>
  queryOptions({
    queryKey: ["event", agentId, timestamp, eventId],
    queryFn: ({ signal }) => getEvent(agentId, timestamp, eventId, { signal }),
    staleTime: 60_000,
  });

export const conversationsQuery = (agentId: string | undefined, range: Range, limit = 200, status?: string) => {
  const question = { agent_id: agentId, status, limit };
  return queryOptions({
    queryKey: ["conversations", question, rangeKey(range)],
    queryFn: ({ signal }) => atNow(range, (span) => listConversations({ ...question, ...timeParameters(span) }, { signal }))(),
    meta: live(range, "slow"),
  });
};

export const conversationQuery = (conversationId: string, agentId: string | undefined) =>
  queryOptions({
    queryKey: ["conversation", conversationId, agentId ?? "*"],
    queryFn: ({ signal }) => getConversation(conversationId, { agent_id: agentId }, { signal }),
    meta: { refresh: "slow" },
  });

export const errorsQuery = (agents: Agents, range: Range, limit = 100) =>
  queryOptions({
    queryKey: ["errors", agents, rangeKey(range), limit],
    queryFn: ({ signal }) =>
      atNow(range, (span) => listErrors({ agents: list(agents), limit, ...timeParameters(span) }, { signal }))(),
    meta: live(range, "slow"),
  });

/** Asked by the clock too: where counting stands still nothing else says so. */
export const pipelineQuery = () =>
  queryOptions({
    queryKey: ["pipeline"],
    queryFn: ({ signal }) => getPipeline({ signal }),
    meta: { refresh: "fast" },
    refetchInterval: byClock(5_000),
  });

/** What became of the records that the log took today. */
export const reconciliationQuery = () =>
  queryOptions({
    queryKey: ["reconciliation"],
    queryFn: ({ signal }) => getReconciliation(undefined, { signal }),
    refetchInterval: byClock(10_000),
  });

/** The newest dead letters. */
export const deadLettersQuery = () =>
  queryOptions({
    queryKey: ["dead-letters"],
    queryFn: ({ signal }) => listDeadLetters({ limit: 100 }, { signal }),
    refetchInterval: byClock(10_000),
  });

export const deadLetterQuery = (position: string) =>
  queryOptions({
    queryKey: ["dead-letter", position],
    queryFn: ({ signal }) => getDeadLetter(position, { signal }),
    staleTime: 60_000,
  });

/** Publishes a dead letter's event once more. */
export const redriveLetter = (position: string, { eventId, again }: { eventId?: string; again: boolean }) =>
  redriveDeadLetter(position, { event_id: eventId }, { again });

/** What is not ready; says so with a 503, which is an answer here. */
export const readinessQuery = () =>
  queryOptions({
    queryKey: ["readiness"],
    queryFn: ({ signal }) => request<HealthAnswer>(getGetReadinessUrl(), { signal }, [503]),
    refetchInterval: byClock(15_000),
  });

/** Asks until the receipt is counted. */
export const receiptQuery = (receipt: string) =>
  queryOptions({
    queryKey: ["receipt", receipt],
    queryFn: ({ signal }) => getReceipt(receipt, { wait_ms: 0 }, { signal }),
    refetchInterval: (query) =>
      query.state.data && !query.state.data.counted && !query.state.data.dead_letters?.length ? 1_000 : false,
  });
