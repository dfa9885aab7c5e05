/** An event as the list keeps it: what a line shows and what a filter looks at, nothing else, since there may be 100,000. */

export interface EventRow {
  kind: "event";
  /** `agent|timestamp|event_id`: names the event, in the list and in the URL. */
  key: string;
  agent: string;
  /** As the API writes it, µs, UTC: compares as text. */
  timestamp: string;
  id: string;
  type: string;
  /** Beginnings of what it says. */
  content: string | null;
  /** Only of kinds whose message is in the metadata. */
  metadata: string | null;
  details: string | null;
  errorType: string | null;
  tool: string | null;
  model: string | null;
  user: string | null;
  conversation: string | null;
  session: string | null;
  trace: string | null;
  ms: number | null;
  tokens: number | null;
  cost: number | null;
  isCostEstimated: boolean;
  feedback: number | null;
  receipt: string | null;
}

/** A place in the list where events are missing. */
export interface Gap {
  kind: "gap";
  key: string;
  /** Null where nobody knows. */
  count: number | null;
  isExact: boolean;
  reason: GapReason;
  /** When it was noticed, ms. */
  at: number;
}

export type GapReason =
  /** The stream was too fast for this browser or its line. */
  | "slow"
  /** The stream broke and could not be taken up where it was. */
  | "interrupted"
  /** More waited than the page keeps. */
  | "waited";

export type Entry = EventRow | Gap;

const METADATA_SAYS_IT = new Set(["custom_metric", "graph_step"]);

/** What is kept, and searched, of a long text. */
export const LONGEST_TEXT = 1_000;

/** An event of the history or of the stream: the same names, but a stream leaves fields out. */
interface Source {
  agent_id: string;
  event_id: string;
  timestamp: string;
  message_type: string;
}

export function rowOf(source: Source): EventRow {
  const from = source as unknown as Record<string, unknown>;
  const text = (name: string) => (typeof from[name] === "string" ? beginning(from[name]) : null);
  const number = (name: string) => (typeof from[name] === "number" ? from[name] : null);
  return {
    kind: "event",
    key: keyOf(source),
    agent: shared(source.agent_id),
    timestamp: source.timestamp,
    id: source.event_id,
    type: shared(source.message_type),
    content: text("content"),
    metadata: METADATA_SAYS_IT.has(source.message_type) && from.metadata ? beginning(JSON.stringify(from.metadata)) : null,
    details: text("error_details"),
    errorType: shared(text("error_type")),
    tool: shared(text("tool_name")),
    model: shared(text("model_used")),
    user: text("user_id"),
    conversation: text("conversation_id"),
    session: text("session_id"),
    trace: text("trace_id"),
    ms: number("response_time_ms"),
    tokens: number("token_count"),
    cost: number("cost_usd"),
    isCostEstimated: from.cost_estimated === true,
    feedback: number("user_feedback"),
    receipt: text("receipt"),
  };
}

export function keyOf({ agent_id, timestamp, event_id }: Pick<Source, "agent_id" | "timestamp" | "event_id">): string {
  return `${agent_id}|${timestamp}|${event_id}`;
}

/** The parts of a key; null where it is none. */
export function partsOf(key: string): { agentId: string; timestamp: string; eventId: string } | null {
  const [agentId, timestamp, eventId, ...rest] = key.split("|");
  return agentId && timestamp && eventId && rest.length === 0 ? { agentId, timestamp, eventId } : null;
}

function beginning(text: string): string {
  // A plain slice would keep the whole text in memory.
  return text.length <= LONGEST_TEXT ? text : (JSON.parse(JSON.stringify(text.slice(0, LONGEST_TEXT))) as string);
}

const names = new Map<string, string>();
const MOST_NAMES = 20_000;

/** One string for all events that name the same agent, type, model or tool. */
function shared<T extends string | null>(name: T): T {
  if (name === null) return name;
  const known = names.get(name);
  if (known !== undefined) return known as T;
  if (names.size >= MOST_NAMES) names.clear();
  names.set(name, name);
  return name;
}
