/** The numbers and the names of an event. */
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Event } from "@/api/generated.ts";
import { filterTerm } from "@/lib/filter-term.ts";
import { formatInteger, formatNumber } from "@/lib/format.ts";
import type { EventSketch } from "./event-detail.tsx";
import { Value } from "./value.tsx";

/** How long, how much, at what cost. Only what the event has. */
export function EventFigures({ event }: { event: Partial<Event> }) {
  const figures: [string, ReactNode, ReactNode?][] = [];
  if (isKnown(event.response_time_ms))
    figures.push(["Response time", <Value key="v" value={event.response_time_ms} unit="ms" />]);
  const tokens = event.token_count ?? sum(event.input_tokens, event.output_tokens);
  if (isKnown(tokens)) figures.push(["Tokens", <Value key="v" value={tokens} />, tokenNotes(event)]);
  if (isKnown(event.cost_usd)) {
    figures.push([
      "Cost",
      <Value key="v" value={event.cost_usd} unit="usd" />,
      event.cost_estimated ? "from model and tokens" : "as sent",
    ]);
  }
  if (isKnown(event.user_feedback)) figures.push(["Feedback", `${formatNumber(event.user_feedback)} of 5`]);
  if (figures.length === 0) return null;
  return (
    <dl className="flex flex-wrap gap-x-8 gap-y-3 rounded-md border bg-card px-3 py-2">
      {figures.map(([title, value, note]) => (
        <div key={title}>
          <dt className="text-muted-foreground text-xs">{title}</dt>
          <dd className="font-semibold text-base">{value}</dd>
          {note && <dd className="text-2xs text-muted-foreground">{note}</dd>}
        </div>
      ))}
    </dl>
  );
}

function tokenNotes(event: Partial<Event>): string | undefined {
  const parts: [string, number | null | undefined][] = [
    ["in", event.input_tokens],
    ["cached", event.cached_input_tokens],
    ["out", event.output_tokens],
    ["reasoning", event.reasoning_tokens],
  ];
  const known = parts.filter((part): part is [string, number] => isKnown(part[1]));
  return known.length > 0 ? known.map(([name, count]) => `${formatInteger(count)} ${name}`).join(", ") : undefined;
}

/** As high as a finger needs. */
const LINK = "link inline-block min-h-6 min-w-6";

/** Whose it is and what it belongs to, each leading there. */
export function EventNames({ event }: { event: EventSketch }) {
  const inFilter = (field: string, value: string) => (
    <Link to="/events" search={{ filter: filterTerm(field, value) }} className={LINK} title="Events with the same">
      {value}
    </Link>
  );
  const rows: [string, ReactNode][] = [
    [
      "Agent",
      <Link key="agent" to="/agents/$agentId" params={{ agentId: event.agent_id }} className={LINK}>
        {event.agent_id}
      </Link>,
    ],
  ];
  if (event.conversation_id) {
    rows.push([
      "Conversation",
      <Link
        key="conversation"
        to="/conversations/$conversationId"
        params={{ conversationId: event.conversation_id }}
        search={{ agent: event.agent_id }}
        className={LINK}
      >
        {event.conversation_id}
      </Link>,
    ]);
  }
  const filtered: [string, string, string | null | undefined][] = [
    ["User", "user", event.user_id],
    ["Model", "model", event.model_used],
    ["Tool", "tool", event.tool_name],
    ["Session", "session", event.session_id],
    ["Trace", "trace", event.trace_id],
  ];
  for (const [title, field, value] of filtered) if (value) rows.push([title, inFilter(field, value)]);
  const plain: [string, string | null | undefined][] = [
    ["Span", event.span_id],
    ["Span above", event.parent_span_id],
    ["Time, UTC", event.timestamp],
    ["Event id", event.event_id],
  ];
  for (const [title, value] of plain) if (value) rows.push([title, value]);
  return (
    <section aria-label="Identity">
      <h3 className="mb-1 font-semibold text-xs">Identity</h3>
      <dl className="grid grid-cols-[auto_minmax(0,1fr)] gap-x-4 leading-6">
        {rows.map(([title, value]) => (
          <div key={title} className="contents">
            <dt className="text-muted-foreground">{title}</dt>
            <dd className="break-words font-mono text-xs leading-6">{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function isKnown(value: number | null | undefined): value is number {
  return value !== null && value !== undefined;
}

function sum(...values: (number | null | undefined)[]): number | undefined {
  const known = values.filter(isKnown);
  return known.length > 0 ? known.reduce((a, b) => a + b, 0) : undefined;
}
