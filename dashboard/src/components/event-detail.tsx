/** All there is to know of one event: in the drawer of a list, or as a page of its own. */
import { useQuery } from "@tanstack/react-query";
import { RotateCw } from "lucide-react";
import type { ReactNode } from "react";
import type { Event } from "@/api/generated.ts";
import { ApiError } from "@/api/http.ts";
import { eventQuery } from "@/api/queries.ts";
import { CopyButton } from "./copy-button.tsx";
import { EventFigures, EventNames } from "./event-fields.tsx";
import { JsonView } from "./event-json.tsx";
import { EventReceipt } from "./event-receipt.tsx";
import { EventTypeBadge } from "./event-type.tsx";
import { PanelError } from "./panel.tsx";
import { Button } from "./ui/button.tsx";
import { Skeleton } from "./ui/skeleton.tsx";
import { Ago, Time } from "./value.tsx";

/** What a list knows of an event before it is read. */
export type EventSketch = Partial<Event> & Pick<Event, "agent_id" | "timestamp" | "event_id">;

interface EventDetailProps {
  agentId: string;
  timestamp: string;
  eventId: string;
  /** Shown until the event is read. One with a receipt was accepted, so it is waited for where it is not stored yet. */
  sketch?: EventSketch;
  /** Further buttons. */
  actions?: ReactNode;
  /** What is offered where there is no such event. */
  missing?: ReactNode;
}

/** Between two questions for an event that is not stored yet. */
const WAIT_MS = 1_000;
/** An event this young may still be on its way. */
const YOUNG_MS = 120_000;

export function EventDetail({ agentId, timestamp, eventId, sketch, actions, missing }: EventDetailProps) {
  const isAccepted = sketch?.receipt !== undefined && sketch.receipt !== null;
  const isYoung = Date.now() - Date.parse(timestamp) < YOUNG_MS;
  const query = useQuery({
    ...eventQuery(agentId, timestamp, eventId),
    refetchInterval: ({ state }) => (isMissing(state.error) && (isAccepted || isYoung) ? WAIT_MS : false),
  });
  const stored = query.data?.event;
  const event = stored ?? sketch;
  const isWaiting = !stored && isMissing(query.error);

  if (!event) {
    if (isWaiting) return <Missing isYoung={isYoung} offer={missing} onRetry={() => query.refetch()} />;
    if (query.error) return <PanelError error={query.error} onRetry={() => query.refetch()} />;
    return <Loading />;
  }
  return (
    <article aria-label={`Event ${eventId}`} className="flex flex-col gap-4">
      <header className="flex flex-col gap-2">
        <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
          {event.message_type && <EventTypeBadge type={event.message_type} />}
          <Time time={timestamp} precision="ms" className="font-medium" />
          <Ago time={timestamp} className="text-muted-foreground text-xs" />
        </div>
        <EventReceipt receipt={event.receipt ?? undefined} isStored={stored !== undefined} />
        {isWaiting && (
          <p className="text-muted-foreground">The list knows this much of it; the rest is shown when it is stored.</p>
        )}
        {query.error && !isWaiting && <PanelError error={query.error} onRetry={() => query.refetch()} />}
        <div className="-ml-2 flex flex-wrap items-center gap-x-1">
          <CopyButton text={JSON.stringify(event, null, 2)} label="Copy JSON" />
          <CopyButton text={eventId} label="Copy id" />
          <CopyButton text={location.origin + eventPath(agentId, timestamp, eventId)} label="Copy permalink" />
          {actions}
        </div>
      </header>
      <EventFigures event={event} />
      {(event.error_details || event.error_type) && (
        <Section title="Error">
          {event.error_type && <p className="mb-1 font-mono text-bad text-xs">{event.error_type}</p>}
          {event.error_details && <Text tone="bad">{event.error_details}</Text>}
        </Section>
      )}
      {event.content && (
        <Section title="Content">
          <Text>{event.content}</Text>
        </Section>
      )}
      {stored ? (
        <Section title="Metadata">
          {stored.metadata && Object.keys(stored.metadata).length > 0 ? (
            <JsonView label="Metadata" value={stored.metadata} />
          ) : (
            <p className="text-muted-foreground">None was sent.</p>
          )}
        </Section>
      ) : (
        !isWaiting && <Skeleton className="h-24" />
      )}
      <EventNames event={event} />
    </article>
  );
}

/** Where the event is a page of its own. */
export function eventPath(agentId: string, timestamp: string, eventId: string): string {
  const part = (text: string) => encodeURIComponent(text).replaceAll("%3A", ":");
  return `/agents/${part(agentId)}/events/${part(timestamp)}/${part(eventId)}`;
}

function isMissing(error: unknown): boolean {
  return error instanceof ApiError && error.status === 404;
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section aria-label={title}>
      <h3 className="mb-1 font-semibold text-xs">{title}</h3>
      {children}
    </section>
  );
}

/** As it was sent, line breaks and all; never HTML. */
function Text({ tone, children }: { tone?: "bad"; children: string }) {
  // What scrolls must be reachable by keyboard.
  const isLong = children.length > 1_200 || children.split("\n", 21).length > 20;
  return (
    <p
      tabIndex={isLong ? 0 : undefined}
      className={`max-h-96 overflow-auto whitespace-pre-wrap break-words rounded-md border px-3 py-2 ${tone ? "bg-bad-soft" : "bg-card"}`}
    >
      {children}
    </p>
  );
}

function Missing({ isYoung, offer, onRetry }: { isYoung: boolean; offer: ReactNode; onRetry: () => void }) {
  return (
    <div role="status" className="flex flex-col items-center gap-3 py-10 text-center">
      <p className="font-semibold text-base">There is no such event</p>
      <p className="max-w-prose text-balance text-muted-foreground">
        {isYoung
          ? "It may have been accepted a moment ago and not be stored yet. This page asks again every second."
          : "It may have expired, or its address is not complete. An event that was accepted but could not be counted is among the dead letters."}
      </p>
      <div className="flex flex-wrap justify-center gap-2">
        <Button size="small" onClick={onRetry}>
          <RotateCw /> Try again
        </Button>
        {offer}
      </div>
    </div>
  );
}

function Loading() {
  return (
    <div className="flex flex-col gap-4">
      <span className="sr-only">The event loads</span>
      <Skeleton className="h-6 w-72" />
      <Skeleton className="h-5 w-96 max-w-full" />
      <Skeleton className="h-16" />
      <Skeleton className="h-32" />
      <Skeleton className="h-40" />
    </div>
  );
}
