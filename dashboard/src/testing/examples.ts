/** Answers of the API as a healthy server gives them, to be changed where a test is about the difference. */
import type {
  AgentAnswer,
  AgentSummary,
  AgentsPage,
  Conversation,
  ConversationAnswer,
  ConversationsAnswer,
  DeadLettersAnswer,
  ErrorGroup,
  ErrorsAnswer,
  Event,
  EventAnswer,
  EventsAnswer,
  KpisAnswer,
  PipelineAnswer,
  ReceiptAnswer,
  Reconciliation,
  SeriesAnswer,
  SeriesPoint,
  SessionAnswer,
  SummaryAnswer,
} from "@/api/generated.ts";
import { DAY, HOUR, MINUTE } from "@/lib/range.ts";

/** `ms` before now, as the API writes times. */
export function ago(ms: number): string {
  return new Date(Date.now() - ms).toISOString().replace("Z", "000Z");
}

const today = () => new Date().toISOString().slice(0, 10);
const span = () => ({ start: ago(DAY), end: ago(0), start_date: ago(DAY), end_date: ago(0) });

export function agent(agentId: string, more: Partial<AgentSummary> = {}): AgentSummary {
  return {
    agent_id: agentId,
    average_feedback_score: 4.5,
    average_response_time_ms: 800,
    calls: 20,
    calls_by_day: [1, 2, 3],
    cost_usd: 0.25,
    duplicates_skipped: 0,
    error_rate: 0.1,
    first_seen: ago(9 * DAY),
    last_seen: ago(MINUTE),
    max_response_time_ms: 2_000,
    status: "healthy",
    status_rule: "no rule holds",
    tool_calls: 0,
    total_errors: 1,
    total_messages: 10,
    total_responses: 9,
    total_tokens_used: 1_000,
    ...more,
  };
}

export function agentsPage(items: AgentSummary[], more: Partial<AgentsPage> = {}): AgentsPage {
  const status_counts = { healthy: 0, degraded: 0, failing: 0, silent: 0 };
  for (const item of items) status_counts[item.status]++;
  const days = { first_day: today(), last_day: today() };
  return { as_of: ago(0), is_live: true, items, ...days, next_key: null, status_counts, total: items.length, ...more };
}

export function agentAnswer(agentId: string, more: Partial<AgentSummary> = {}): AgentAnswer {
  return { ...agent(agentId, more), as_of: ago(0), first_day: today(), last_day: today(), is_live: true };
}

export function event(more: Partial<Event> = {}): Event {
  return {
    agent_id: "a-1",
    content: "Hello",
    cost_usd: null,
    error_details: null,
    event_id: "e-1",
    message_type: "user_message",
    metadata: null,
    model_used: null,
    response_time_ms: null,
    timestamp: ago(MINUTE),
    token_count: null,
    user_feedback: null,
    ...more,
  };
}

export function eventAnswer(more: Partial<Event> = {}): EventAnswer {
  return { as_of: ago(0), event: event(more) };
}

export function eventsAnswer(items: Event[], nextKey: string | null = null): EventsAnswer {
  return { as_of: ago(0), start: ago(DAY), end: ago(0), items, next_key: nextKey, scope: null };
}

export function receiptAnswer(more: Partial<ReceiptAnswer> = {}): ReceiptAnswer {
  return { as_of: ago(0), counted: true, lag_ms: 0, logged: true, receipt: "0-3-7", ...more };
}

export function sessionAnswer(more: Partial<SessionAnswer> = {}): SessionAnswer {
  return { is_required: false, is_signed_in: true, session_time_s: 604_800, ...more };
}

export function errorGroup(id: string, more: Partial<ErrorGroup> = {}): ErrorGroup {
  const place = { agent_id: "a-1", event_id: `e-${id}`, timestamp: ago(MINUTE) };
  const { error_type = "timeout", shape = "no answer after <n> ms" } = more;
  return {
    agents: [{ agent_id: "a-1", count: 3 }],
    agents_affected: 1,
    count: 3,
    error_type,
    example: event({
      ...place,
      message_type: "error",
      error_details: "no answer after 30 ms",
      error_type: error_type ?? undefined,
    }),
    first_seen: ago(HOUR),
    id,
    is_example_cut: false,
    last_seen: ago(MINUTE),
    recent: [place],
    shape,
    share: 0.5,
    trend: [0, 1, 2],
    ...more,
  };
}

export function errorsAnswer(items: ErrorGroup[], more: Partial<ErrorsAnswer> = {}): ErrorsAnswer {
  return {
    agents: [],
    as_of: ago(0),
    complete_from: null,
    start: ago(DAY),
    end: ago(0),
    groups: items.length,
    is_complete: true,
    items,
    total: items.reduce((sum, group) => sum + group.count, 0),
    trend_interval_s: 28_800,
    trend_start: ago(DAY),
    ...more,
  };
}

export function conversation(id: string, more: Partial<Conversation> = {}): Conversation {
  return {
    agent_id: "a-1",
    costUsd: 0.01,
    duration: 60,
    errorCount: 0,
    id,
    isComplete: true,
    lastEventAt: ago(HOUR),
    messageCount: 4,
    models: ["gpt-5"],
    startedAt: ago(HOUR + MINUTE),
    status: "completed",
    title: `Talk ${id}`,
    tokens: 100,
    toolCalls: 0,
    userMessages: 2,
    ...more,
  };
}

export function conversationsAnswer(items: Conversation[], more: Partial<ConversationsAnswer> = {}): ConversationsAnswer {
  return { as_of: ago(0), has_more: false, items, scope: null, ...more };
}

export function conversationAnswer(events: Event[], more: Partial<Conversation> = {}): ConversationAnswer {
  const times = { startedAt: events[0]?.timestamp ?? ago(HOUR), lastEventAt: events.at(-1)?.timestamp ?? ago(HOUR) };
  const counts = { messageCount: events.length, errorCount: events.filter((each) => each.message_type === "error").length };
  return { as_of: ago(0), conversation: conversation("c-1", { ...times, ...counts, ...more }), events, is_complete: true };
}

export function seriesPoint(date: string, more: Partial<SeriesPoint> = {}): SeriesPoint {
  return {
    average_feedback_score: null,
    average_response_time_ms: null,
    calls: 0,
    cost_usd: null,
    date,
    error_rate: 0,
    errors: 0,
    input_tokens: null,
    max_response_time_ms: null,
    messages: 0,
    model_cost_usd: {},
    model_usage: {},
    models: [],
    output_tokens: null,
    p50_response_time_ms: null,
    p95_response_time_ms: null,
    p99_response_time_ms: null,
    response_time_count: 0,
    responses: null,
    tokens: 0,
    tool_calls: null,
    visitors: null,
    ...more,
  };
}

/** The last 24 hours, each with what is given for it. */
export function seriesAnswer(each: Partial<SeriesPoint> = {}): SeriesAnswer {
  const last = Math.floor(Date.now() / HOUR) * HOUR;
  const items = Array.from({ length: 24 }, (_, i) => seriesPoint(new Date(last - (23 - i) * HOUR).toISOString(), each));
  return { agents: [], as_of: ago(0), start_date: ago(DAY), end_date: ago(0), interval: "hour", items, percentile_error: 0.02 };
}

/** Every figure zero; a card without data shows a dash. */
export function kpisAnswer(): KpisAnswer {
  const before = {
    previous_start: ago(2 * DAY),
    previous_end: ago(DAY),
    previous_start_date: ago(2 * DAY),
    previous_end_date: ago(DAY),
  };
  return { agents: [], as_of: ago(0), ...span(), ...before, kpis: [] };
}

export function summaryAnswer(more: Partial<SummaryAnswer["metrics"]> = {}): SummaryAnswer {
  const metrics = {
    average_feedback_score: 0,
    average_response_time: 0,
    cost_events: 0,
    cost_usd: null,
    duplicates_skipped: 0,
    error_rate: 0,
    error_types: [],
    events_by_type: {},
    feedback_count: 0,
    last_event_at: null,
    models: [],
    response_times: {
      average_ms: null,
      count: 0,
      max_ms: null,
      p50_ms: null,
      p95_ms: null,
      p99_ms: null,
      percentile_error: 0.02,
    },
    tokens: { cached_input: 0, input: 0, output: 0, reasoning: 0, total: 0 },
    tools: [],
    total_errors: 0,
    total_events: 0,
    total_messages: 0,
    total_responses: 0,
    total_tokens_used: 0,
    unique_users: 0,
    unique_users_error: 0,
    ...more,
  };
  return { agents: [], as_of: ago(0), covers_from: null, users_cover_from: null, ...span(), metrics };
}

export function reconciliation(more: Partial<Reconciliation> = {}): Reconciliation {
  return {
    accepted: 1_200,
    adds_up: true,
    as_of: ago(0),
    date: today(),
    dead_letters: 0,
    duplicates: 2,
    inserted: 1_198,
    logged: 1_200,
    pending: 0,
    totals: { agrees: true, inserted: 9_000, deleted: 0, is_deleting: false, rollups: 9_000 },
    unacknowledged: 0,
    ...more,
  };
}

export function deadLetters(more: Partial<DeadLettersAnswer> = {}): DeadLettersAnswer {
  return { as_of: ago(0), complete_from: null, is_caught_up: true, items: [], next_key: null, ...more };
}

export function pipelineAnswer(more: Partial<PipelineAnswer> = {}): PipelineAnswer {
  return {
    accepted: 1_200,
    as_of: ago(0),
    counted: 1_200,
    dead_letters: { by_reason: [], redriven: 0, total: 0 },
    freshness_ms: 0,
    lag_ms: 0,
    lag_records: 0,
    live_table: {
      as_of: ago(0),
      first_day: today(),
      is_caught_up: true,
      lag_records: 0,
      last_day: today(),
      rows: 12,
      trouble: null,
    },
    partitions: [{ committed: 1_200, end: 1_200, lag_records: 0, partition: 0, start: 0, stopped: null }],
    streams: 1,
    today: { date: today(), duplicates_skipped: 2, errors: 1, events: 1_200 },
    write_units: null,
    ...more,
  };
}
