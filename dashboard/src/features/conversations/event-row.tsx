/** One event on the timeline: when, what, what it took, and what all came to so far. */
import { useRouter } from "@tanstack/react-router";
import { Braces, Link2 } from "lucide-react";
import { type MouseEvent, memo, useRef, useState } from "react";
import type { Event } from "@/api/generated.ts";
import { CopyButton } from "@/components/copy-button.tsx";
import { EVENT_LABELS } from "@/components/event-labels.ts";
import { Button, button } from "@/components/ui/button.tsx";
import { Value } from "@/components/value.tsx";
import { cn } from "@/lib/cn.ts";
import { formatInteger, formatTime, formatTimeExact, type Zone } from "@/lib/format.ts";
import { EventBody, Outcome } from "./event-body.tsx";
import { eventName } from "./event-name.ts";
import { LOOKS } from "./kinds.ts";
import { useNear } from "./near.ts";
import { hasFailed } from "./timeline-rows.ts";

interface EventRowProps {
  event: Event;
  index: number;
  tokensSoFar: number;
  costSoFar: number | null;
  /** All tokens of the conversation: the length of a full bar. */
  tokensOfAll: number;
  isSelected: boolean;
  /** Whether several agents take part, so that each event names its own. */
  hasAgents: boolean;
  /** Whether it is drawn only when it comes near the screen. */
  isLazy: boolean;
  zone: Zone;
}

export const GRID = "grid grid-cols-[1.75rem_minmax(0,1fr)] gap-x-2 lg:grid-cols-[4.5rem_1.75rem_minmax(0,1fr)_8.5rem]";

export const EventRow = memo(function EventRow(props: EventRowProps) {
  const { event, index, isSelected, isLazy } = props;
  const item = useRef<HTMLLIElement>(null);
  const isNear = useNear(item, !isLazy);
  return (
    <li
      ref={item}
      data-index={index}
      tabIndex={-1}
      className={cn(
        "group relative rounded-md outline-offset-0",
        isLazy && "[contain-intrinsic-size:auto_72px] [content-visibility:auto]",
        isSelected && "bg-primary-soft/40 ring-1 ring-primary/40",
      )}
    >
      {isNear ? <Drawn {...props} /> : <Undrawn event={event} />}
    </li>
  );
});

/** Stands for an event far from the screen: its words alone, so that the browser's search finds them. */
function Undrawn({ event }: { event: Event }) {
  const text = [eventName(event), event.error_type, event.error_details, event.content].filter(Boolean).join(" ");
  return (
    <p className={cn("overflow-hidden", isTalk(event) ? "h-[72px]" : "h-9")}>{`${EVENT_LABELS[event.message_type]} ${text}`}</p>
  );
}

function isTalk({ message_type: kind }: Event): boolean {
  return kind === "user_message" || kind === "agent_response";
}

function Drawn(props: EventRowProps) {
  const { event, index, hasAgents, zone } = props;
  const [hasJson, setHasJson] = useState(false);
  const { icon: Icon, color } = LOOKS[event.message_type];
  const name = eventName(event);
  const clock = formatTime(event.timestamp, zone, "clock-second");
  return (
    <div className={cn(GRID, "py-1.5")}>
      <time
        dateTime={event.timestamp}
        title={formatTimeExact(event.timestamp, zone)}
        className="hidden pt-1 text-right text-2xs text-muted-foreground lg:block"
      >
        {clock}
      </time>
      <span className="relative flex justify-center before:absolute before:-top-1.5 before:-bottom-1.5 before:w-px before:bg-border">
        <span style={{ color }} className="relative flex size-6 items-center justify-center rounded-full border bg-card">
          <Icon aria-hidden className="size-3.5" />
        </span>
      </span>
      <div className="min-w-0">
        <div className="flex items-start gap-1">
          <p className="flex min-h-6 min-w-0 flex-1 flex-wrap items-center gap-x-2 text-xs">
            <span className={cn("font-semibold", event.message_type === "error" && "text-bad")}>
              {EVENT_LABELS[event.message_type]}
            </span>
            {name && (
              <span className={cn("truncate", event.message_type === "tool_call" ? "font-mono" : "text-muted-foreground")}>
                {name}
              </span>
            )}
            {hasAgents && <span className="truncate text-muted-foreground">{event.agent_id}</span>}
            <Figures event={event} />
            <time
              dateTime={event.timestamp}
              title={formatTimeExact(event.timestamp, zone)}
              className="text-muted-foreground lg:hidden"
            >
              {clock}
            </time>
          </p>
          <span className="flex items-center gap-0.5 focus-within:opacity-100 group-hover:opacity-100 [@media(hover:hover)]:opacity-0">
            <Button
              variant="ghost"
              size="small-icon"
              aria-expanded={hasJson}
              aria-label={`Raw event ${index + 1}`}
              title="Raw event"
              onClick={() => setHasJson(!hasJson)}
            >
              <Braces />
            </Button>
            <Permalink event={event} index={index} />
          </span>
        </div>
        <div className={cn(isTalk(event) && "mt-0.5")}>
          <EventBody event={event} />
        </div>
        {hasJson && <Raw event={event} />}
      </div>
      <SoFarColumn {...props} />
    </div>
  );
}

/** What the event itself took. */
function Figures({ event }: { event: Event }) {
  const tokens = [
    ["in", event.input_tokens],
    ["cached of these", event.cached_input_tokens],
    ["out", event.output_tokens],
    ["reasoning of these", event.reasoning_tokens],
  ] as const;
  const parts = tokens.flatMap(([what, count]) => (count ? [`${formatInteger(count)} ${what}`] : []));
  return (
    <>
      {(event.message_type === "tool_call" || (event.message_type === "graph_step" && hasFailed(event))) && (
        <Outcome event={event} />
      )}
      {event.model_used && <span className="truncate text-muted-foreground">{event.model_used}</span>}
      {event.response_time_ms !== null && <Value value={event.response_time_ms} unit="ms" className="text-muted-foreground" />}
      {event.token_count !== null && (
        <span
          className="whitespace-nowrap text-muted-foreground"
          title={[`${formatInteger(event.token_count)} tokens`, ...parts].join("\n")}
        >
          <Value value={event.token_count} /> tokens
        </span>
      )}
      {event.cost_usd !== null && (
        <span className="text-muted-foreground">
          <Value value={event.cost_usd} unit="usd" />
          {event.cost_estimated && <span title="priced from the model and its tokens"> est.</span>}
        </span>
      )}
    </>
  );
}

/** The running total, where this event added to it. */
function SoFarColumn({ event, tokensSoFar, costSoFar, tokensOfAll }: EventRowProps) {
  if (!event.token_count && event.cost_usd === null) return null;
  return (
    <div className="hidden pt-1 text-right text-2xs text-muted-foreground lg:block">
      <p>
        <span className="sr-only">So far: </span>
        <Value value={tokensSoFar} /> <span className="sr-only">tokens</span>
        {costSoFar !== null && (
          <>
            {" · "}
            <Value value={costSoFar} unit="usd" />
          </>
        )}
      </p>
      <div aria-hidden className="mt-1 h-1 overflow-hidden rounded-full bg-muted">
        <div
          className="h-full rounded-full bg-primary/60"
          style={{ width: `${tokensOfAll > 0 ? (tokensSoFar / tokensOfAll) * 100 : 0}%` }}
        />
      </div>
    </div>
  );
}

/** To the event's own page. Not a `Link`: a thousand of them would each follow the address. */
function Permalink({ event, index }: { event: Event; index: number }) {
  const router = useRouter();
  const to = {
    to: "/agents/$agentId/events/$timestamp/$eventId",
    params: { agentId: event.agent_id, timestamp: event.timestamp, eventId: event.event_id },
  } as const;
  const go = (click: MouseEvent) => {
    if (click.metaKey || click.ctrlKey || click.shiftKey || click.button !== 0) return;
    click.preventDefault();
    void router.navigate(to);
  };
  return (
    <a
      href={router.buildLocation(to).href}
      onClick={go}
      aria-label={`Page of event ${index + 1}`}
      title="Page of this event"
      className={button({ variant: "ghost", size: "small-icon" })}
    >
      <Link2 />
    </a>
  );
}

function Raw({ event }: { event: Event }) {
  const json = JSON.stringify(event, null, 2);
  return (
    <div className="mt-1.5 rounded-md border bg-background">
      <div className="flex justify-end border-b px-1">
        <CopyButton text={json} label="Copy" />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
      <pre tabIndex={0} className="max-h-96 overflow-auto p-2.5 font-mono text-2xs">
        {json}
      </pre>
    </div>
  );
}
