/** The whole conversation on one time axis; a click or the arrow keys go to an event. */
import { type KeyboardEvent, type PointerEvent, type RefObject, useMemo, useRef, useState } from "react";
import type { Event } from "@/api/generated.ts";
import { EVENT_LABELS } from "@/components/event-labels.ts";
import { formatTime, type Zone } from "@/lib/format.ts";
import { axisOf, nearestTo, placeOn } from "./axis.ts";
import { useInSight } from "./in-sight.ts";
import { LANES, LOOKS } from "./kinds.ts";
import { Mark } from "./mark.tsx";
import { StripAxis } from "./strip-axis.tsx";

/** Height of a lane, px. */
const LANE = 14;
/** A key within this time goes on from the step before, ms. */
const STEP_MS = 800;

interface TimeStripProps {
  events: readonly Event[];
  /** The timeline below, whose items carry `data-index`. */
  list: RefObject<HTMLElement | null>;
  /** Index of the event that was gone to. */
  selected: number | null;
  /** `isFinal`: the viewer has arrived and wants to read on there. */
  onSelect: (index: number, isFinal: boolean) => void;
  zone: Zone;
}

export function TimeStrip({ events, list, selected, onSelect, zone }: TimeStripProps) {
  const strip = useRef<HTMLDivElement>(null);
  const plot = useRef<HTMLDivElement>(null);
  const step = useRef({ index: 0, at: 0 });
  const [hovered, setHovered] = useState<number | null>(null);
  const sight = useInSight(list, strip, events.length);
  const times = useMemo(() => events.map((event) => Date.parse(event.timestamp)), [events]);
  const axis = useMemo(() => axisOf(times), [times]);
  const xs = useMemo(() => times.map((time) => placeOn(axis, time)), [times, axis]);
  const lanes = useMemo(() => LANES.filter((lane) => events.some((event) => LOOKS[event.message_type].lane === lane)), [events]);
  const height = lanes.length * LANE;
  const y = (event: Event) => (lanes.indexOf(LOOKS[event.message_type].lane) + 0.5) * LANE;
  const isHere = selected !== null && (!sight || (selected >= sight.first && selected <= sight.last));
  const current = isHere ? selected : (sight?.first ?? 0);
  const last = events.length - 1;

  const at = (pointer: PointerEvent): number => {
    const box = plot.current?.getBoundingClientRect();
    if (!box) return 0;
    const marks = events.map((event, i) => ({ x: (xs[i] ?? 0) * box.width, y: y(event) }));
    return nearestTo(marks, { x: pointer.clientX - box.left, y: pointer.clientY - box.top });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // The page has not scrolled yet when a held key comes again.
    const from = Date.now() - step.current.at < STEP_MS ? step.current.index : current;
    if (event.key === "Enter") return onSelect(from, true);
    const next = nextOf(event.key, from, last);
    if (next === undefined) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(last, next));
    step.current = { index, at: Date.now() };
    onSelect(index, false);
  };

  const shown = events[hovered ?? current];
  return (
    <div ref={strip} className="z-20 -mx-4 border-b bg-card px-4 py-1 lg:sticky lg:top-[49px]">
      <p className="flex justify-between gap-3 pb-1 text-2xs text-muted-foreground">
        <span className="truncate">{axis.length > 1 ? "The whole conversation, long pauses cut" : "The whole conversation"}</span>
        {shown && (
          <span className="whitespace-nowrap">
            {(hovered ?? current) + 1} of {events.length}, {textOf(shown, zone)}
          </span>
        )}
      </p>
      <div className="grid grid-cols-[2.75rem_minmax(0,1fr)]">
        <ul aria-hidden className="text-2xs text-muted-foreground">
          {lanes.map((lane) => (
            <li key={lane} style={{ height: LANE, lineHeight: `${LANE}px` }}>
              {lane}
            </li>
          ))}
        </ul>
        <div
          ref={plot}
          role="slider"
          tabIndex={0}
          aria-label="Events over time: the arrow keys go from one to the next, Enter goes to it"
          aria-valuemin={1}
          aria-valuemax={events.length}
          aria-valuenow={current + 1}
          aria-valuetext={events[current] && `${current + 1} of ${events.length}, ${textOf(events[current], zone)}`}
          onKeyDown={onKeyDown}
          onClick={(event) => onSelect(at(event as unknown as PointerEvent), false)}
          onPointerMove={(event) => setHovered(at(event))}
          onPointerLeave={() => setHovered(null)}
          className="cursor-pointer"
        >
          <svg aria-hidden width="100%" height={height} className="block overflow-visible">
            {sight && sight.last - sight.first < last && (
              <rect
                x={`${(xs[sight.first] ?? 0) * 100}%`}
                width={`${((xs[sight.last] ?? 0) - (xs[sight.first] ?? 0)) * 100}%`}
                height={height}
                rx="3"
                className="fill-primary/10"
              />
            )}
            {lanes.map((lane, i) => (
              <line key={lane} x1="0" x2="100%" y1={(i + 0.5) * LANE} y2={(i + 0.5) * LANE} className="stroke-border" />
            ))}
            {axis.slice(1).map((segment, i) => (
              <rect
                key={segment.from}
                x={`${(axis[i]?.x1 ?? 0) * 100}%`}
                width={`${(segment.x0 - (axis[i]?.x1 ?? 0)) * 100}%`}
                height={height}
                className="fill-card"
              />
            ))}
            {events.map((event, i) => (
              <Mark
                key={`${event.timestamp} ${event.event_id}`}
                kind={event.message_type}
                x={xs[i] ?? 0}
                y={y(event)}
                isCurrent={i === (hovered ?? selected)}
              />
            ))}
          </svg>
          <StripAxis axis={axis} zone={zone} />
        </div>
      </div>
    </div>
  );
}

function nextOf(key: string, current: number, last: number): number | undefined {
  switch (key) {
    case "ArrowRight":
    case "ArrowDown":
      return current + 1;
    case "ArrowLeft":
    case "ArrowUp":
      return current - 1;
    case "PageDown":
      return current + 10;
    case "PageUp":
      return current - 10;
    case "Home":
      return 0;
    case "End":
      return last;
    default:
      return undefined;
  }
}

function textOf(event: Event, zone: Zone): string {
  const what = event.tool_name ?? event.error_type;
  return `${EVENT_LABELS[event.message_type]}${what ? ` ${what}` : ""}, ${formatTime(event.timestamp, zone, "clock-second")}`;
}
