/** The events of a conversation from top to bottom, below a strip of all of them. */
import { type RefObject, useMemo } from "react";
import type { ConversationAnswer } from "@/api/generated.ts";
import { cn } from "@/lib/cn.ts";
import { formatDuration, formatTime, type Zone } from "@/lib/format.ts";
import { Arrivals } from "./arrivals.tsx";
import { EventRow, GRID } from "./event-row.tsx";
import { TimeStrip } from "./time-strip.tsx";
import { rowsOf, type TimelineRow } from "./timeline-rows.ts";

/** From this many events on those far from the screen are not drawn, except the first, which are seen at once. */
const MANY = 100;
const AT_ONCE = 30;

interface TimelineProps {
  answer: ConversationAnswer;
  list: RefObject<HTMLOListElement | null>;
  selected: number | null;
  onSelect: (index: number, isFinal: boolean) => void;
  zone: Zone;
}

export function Timeline({ answer, list, selected, onSelect, zone }: TimelineProps) {
  const { events } = answer;
  const rows = useMemo(() => rowsOf(events, zone), [events, zone]);
  const hasAgents = useMemo(() => new Set(events.map((event) => event.agent_id)).size > 1, [events]);
  const tokensOfAll = useMemo(() => events.reduce((sum, event) => sum + (event.token_count ?? 0), 0), [events]);
  return (
    <>
      <TimeStrip events={events} list={list} selected={selected} onSelect={onSelect} zone={zone} />
      <p aria-hidden className={cn(GRID, "pt-2 text-2xs text-muted-foreground max-lg:hidden")}>
        <span className="text-right">{zone === "utc" ? "UTC" : "Local"}</span>
        <span />
        <span />
        <span className="text-right">So far: tokens · cost</span>
      </p>
      <ol ref={list} className="mt-1">
        {rows.map((row) =>
          row.kind === "event" ? (
            <EventRow
              key={row.key}
              event={row.event}
              index={row.index}
              tokensSoFar={row.soFar.tokens}
              costSoFar={row.soFar.costUsd}
              tokensOfAll={tokensOfAll}
              isSelected={row.index === selected}
              hasAgents={hasAgents}
              isLazy={events.length > MANY && row.index >= AT_ONCE}
              zone={zone}
            />
          ) : (
            <Between key={row.key} row={row} zone={zone} />
          ),
        )}
      </ol>
      <Arrivals events={events} onGo={(index) => onSelect(index, true)} />
    </>
  );
}

/** What lies between two events: a pause, or midnight. */
function Between({ row, zone }: { row: Exclude<TimelineRow, { kind: "event" }>; zone: Zone }) {
  const isDay = row.kind === "day";
  const text = isDay ? formatTime(row.at, zone, "day") : `${formatDuration(row.ms / 1000)} ${row.isAnswering ? "wait" : "pause"}`;
  return (
    <li className={cn(GRID, "items-center py-1 text-muted-foreground text-xs")}>
      <span className="hidden lg:block" />
      <span aria-hidden className="flex h-6 justify-center">
        <span className={cn("h-full w-0 border-l", !isDay && "border-control-border border-dashed")} />
      </span>
      <span className={cn(isDay && "font-semibold text-foreground")}>{text}</span>
    </li>
  );
}
