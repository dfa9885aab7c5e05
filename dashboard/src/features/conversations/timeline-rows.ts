/** What stands on a conversation's timeline: its events, the pauses between them, and what they add up to on the way. Pure. */
import type { Event } from "@/api/generated.ts";
import { formatTime, type Zone } from "@/lib/format.ts";

/** From this length on a gap between two events is shown, ms. */
export const PAUSE_MS = 30_000;
/** A gap that the next event's response time fills to this share was spent on the answer. */
const ANSWERING = 0.8;

export type Kind = Event["message_type"];

/** What the events up to one add up to. */
export interface SoFar {
  tokens: number;
  /** Known cost, US dollars; null before the first known one. */
  costUsd: number | null;
}

export type TimelineRow =
  | { kind: "event"; key: string; index: number; event: Event; soFar: SoFar }
  | { kind: "pause"; key: string; ms: number; isAnswering: boolean }
  | { kind: "day"; key: string; at: number };

/** Tells events of all agents apart. */
export function keyOf(event: Event): string {
  return `${event.agent_id} ${event.timestamp} ${event.event_id}`;
}

/** Running totals, one per event. */
export function totalsOf(events: readonly Event[]): SoFar[] {
  let tokens = 0;
  // In whole nano-dollars, so that the last total shows nothing of binary fractions.
  let nanos: number | null = null;
  return events.map((event) => {
    tokens += event.token_count ?? 0;
    if (event.cost_usd !== null) nanos = (nanos ?? 0) + Math.round(event.cost_usd * 1e9);
    return { tokens, costUsd: nanos === null ? null : nanos / 1e9 };
  });
}

/** The rows from top to bottom: events, oldest first, with what lies between them. */
export function rowsOf(events: readonly Event[], zone: Zone): TimelineRow[] {
  const totals = totalsOf(events);
  const rows: TimelineRow[] = [];
  let before: number | undefined;
  for (const [index, event] of events.entries()) {
    const at = Date.parse(event.timestamp);
    const key = keyOf(event);
    if (before !== undefined && at - before >= PAUSE_MS) {
      const isAnswering = (event.response_time_ms ?? 0) >= (at - before) * ANSWERING;
      rows.push({ kind: "pause", key: `before ${key}`, ms: at - before, isAnswering });
    }
    if (before !== undefined && formatTime(at, zone, "day") !== formatTime(before, zone, "day")) {
      rows.push({ kind: "day", key: `day of ${key}`, at });
    }
    rows.push({ kind: "event", key, index, event, soFar: totals[index] ?? { tokens: 0, costUsd: null } });
    before = at;
  }
  return rows;
}

/** Longer texts are folded. */
const LONG_CHARACTERS = 900;
const LONG_LINES = 14;

export function isLong(text: string): boolean {
  return text.length > LONG_CHARACTERS || text.split("\n", LONG_LINES + 1).length > LONG_LINES;
}

/** Whether a tool call or a step went wrong. */
export function hasFailed(event: Event): boolean {
  return Boolean(event.error_type || event.error_details);
}
