/** Hours of the day across, days down, a colour per hour. The pointer and the arrow keys tell the exact value. Knows no API. */
import { type KeyboardEvent, memo, type PointerEvent, type RefObject, useEffect, useId, useMemo, useRef, useState } from "react";
import { formatTime, type Unit, type Zone } from "@/lib/format.ts";
import { type HeatDay, type HeatScale, heatStep } from "@/lib/heat.ts";
import { HOUR } from "@/lib/range.ts";
import { HeatLegend, heatColor } from "./heat-legend.tsx";
import { cellWords, heatSummary } from "./heat-words.ts";

export interface HeatmapProps {
  label: string;
  days: readonly HeatDay[];
  scale: HeatScale;
  unit: Unit;
  zone: Zone;
  /** What a value is: `p95`. */
  valueTitle: string;
  /** What a value is made of: `response times`. */
  countTitle: string;
  /** The hours that the page is about, where it is about some of them: from when to when. */
  selected?: { from: number; to: number };
  /** Given when the hour that was clicked begins and ends. */
  onPick?: (from: number, to: number) => void;
}

interface Place {
  row: number;
  column: number;
}

/** px. */
interface Layout {
  left: number;
  cellWidth: number;
  cellHeight: number;
}

const AXIS_PX = 18;
const GAP_PX = 2;
const MOST_CELL_PX = 30;
const HOVER_PX = 200;
const COLUMNS = 24;
const MOVES: Record<string, readonly [down: number, across: number]> = {
  ArrowLeft: [0, -1],
  ArrowRight: [0, 1],
  ArrowUp: [-1, 0],
  ArrowDown: [1, 0],
};

export function Heatmap(props: HeatmapProps) {
  const { label, days, scale, unit, zone, selected, onPick } = props;
  const frame = useRef<HTMLDivElement>(null);
  const { width, height } = useSize(frame);
  const [pointed, setPointed] = useState<Place | null>(null);
  const [walked, setWalked] = useState<Place | null>(null);
  const [isFocused, setIsFocused] = useState(false);
  const hintId = useId();
  const layout = useMemo((): Layout => {
    const left = width < 480 ? 46 : 78;
    const cellHeight = Math.min(MOST_CELL_PX, Math.max(8, Math.floor((height - AXIS_PX) / days.length)));
    return { left, cellWidth: (width - left) / COLUMNS, cellHeight };
  }, [width, height, days.length]);

  const stop = walked && walked.row < days.length ? walked : newest(days);
  const active = pointed ?? (isFocused ? stop : null);
  const words = active && cellWords(props, active.row, active.column);

  const pick = ({ row, column }: Place) => {
    const hours = days[row]?.cells[column]?.hours;
    const [first, last] = [hours?.[0], hours?.at(-1)];
    if (first && last) onPick?.(first.t, last.t + HOUR);
  };
  const onKey = (event: KeyboardEvent) => {
    const move = MOVES[event.key];
    if (!move && event.key !== "Enter") return;
    event.preventDefault();
    setPointed(null);
    if (!move) pick(stop);
    else setWalked({ row: within(stop.row + move[0], days.length), column: within(stop.column + move[1], COLUMNS) });
  };
  const placeOf = (event: PointerEvent | React.MouseEvent): Place | null => {
    const box = event.currentTarget.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top - AXIS_PX) / layout.cellHeight);
    const column = Math.floor((event.clientX - box.left - layout.left) / layout.cellWidth);
    return days[row]?.cells[column] ? { row, column } : null;
  };

  return (
    <figure className="flex min-h-0 min-w-0 flex-1 flex-col" aria-label={label}>
      <figcaption className="sr-only">{heatSummary(props)}</figcaption>
      <div
        ref={frame}
        role="application"
        aria-label={label}
        aria-describedby={hintId}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the arrow keys walk through its hours
        tabIndex={0}
        className="relative min-h-0 flex-1"
        onKeyDown={onKey}
        onFocus={(event) => setIsFocused(event.currentTarget.matches(":focus-visible"))}
        onBlur={() => setIsFocused(false)}
      >
        <svg
          aria-hidden
          data-chart
          width={width}
          height={AXIS_PX + days.length * layout.cellHeight}
          className={onPick ? "block cursor-pointer" : "block"}
          onPointerMove={(event) => {
            const at = placeOf(event);
            if (at?.row !== pointed?.row || at?.column !== pointed?.column) setPointed(at);
          }}
          onPointerLeave={(event) => event.pointerType === "mouse" && setPointed(null)}
          onClick={(event) => {
            const at = placeOf(event);
            const isKnown = at?.row === pointed?.row && at?.column === pointed?.column;
            // A finger cannot hover: its first tap tells the value.
            setPointed(at);
            if (at && isKnown) pick(at);
          }}
        >
          {width > 0 && <Cells days={days} scale={scale} zone={zone} layout={layout} />}
          {selected &&
            placesOf(days, selected).map((place) => (
              <rect
                key={`${place.row} ${place.column}`}
                {...boxOf(place, layout)}
                rx={2}
                fill="none"
                stroke="var(--foreground)"
                strokeDasharray="3 2"
              />
            ))}
          {active && <rect {...boxOf(active, layout)} rx={2} fill="none" stroke="var(--foreground)" strokeWidth={1.5} />}
        </svg>
        {active && words && (
          <div aria-hidden style={hoverStyle(active, layout, width)} className="pointer-events-none absolute z-10">
            <div
              className={`rounded-md border bg-raised px-2.5 py-2 text-xs shadow-lg ${active.row < 3 ? "" : "-translate-y-full"}`}
            >
              <p className="font-medium">{words.when}</p>
              <p className="text-muted-foreground">{words.what}</p>
            </div>
          </div>
        )}
        <p id={hintId} className="sr-only">
          The arrow keys go from hour to hour and day to day{onPick && "; Enter shows that hour alone"}.
        </p>
        <p aria-live="polite" className="sr-only">
          {isFocused && !pointed && words && `${words.when}: ${words.what}`}
        </p>
      </div>
      <HeatLegend scale={scale} unit={unit} nothing={`no ${props.countTitle}`} />
    </figure>
  );
}

interface CellsProps {
  days: readonly HeatDay[];
  scale: HeatScale;
  zone: Zone;
  layout: Layout;
}

/** Drawn anew only when the numbers or the size change, not with each move of the pointer. */
const Cells = memo(function Cells({ days, scale, zone, layout }: CellsProps) {
  const hatch = useId();
  const { left, cellWidth, cellHeight } = layout;
  const isNarrow = cellWidth < 16;
  const every = isNarrow ? 6 : 3;
  return (
    <>
      <pattern id={hatch} width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <line x1="0" y1="0" x2="0" y2="5" stroke="var(--control-border)" strokeOpacity="0.3" strokeWidth="2" />
      </pattern>
      <g className="fill-muted-foreground text-2xs">
        {Array.from({ length: COLUMNS / every }, (_, i) => i * every).map((hour) => (
          <text key={hour} x={left + hour * cellWidth} y={11}>
            {String(hour).padStart(2, "0")}:00
          </text>
        ))}
        {days.map(
          (day, row) =>
            (cellHeight >= 13 || row % 2 === 0) && (
              <text key={day.t} x={0} y={AXIS_PX + row * cellHeight + cellHeight / 2 + 3}>
                {formatTime(day.t, zone, isNarrow ? "day" : "weekday")}
              </text>
            ),
        )}
      </g>
      {days.map((day, row) =>
        day.cells.map((cell, column) => {
          if (cell.hours.length === 0) return null;
          const fill = cell.value === null ? `url(#${hatch})` : heatColor(heatStep(scale, cell.value));
          const key = `${row} ${column}`;
          return <rect key={key} {...boxOf({ row, column }, layout)} rx={2} fill={fill} />;
        }),
      )}
    </>
  );
});

function boxOf({ row, column }: Place, { left, cellWidth, cellHeight }: Layout) {
  return {
    x: left + column * cellWidth,
    y: AXIS_PX + row * cellHeight,
    width: Math.max(1, cellWidth - GAP_PX),
    height: Math.max(1, cellHeight - GAP_PX),
  };
}

/** Beside its hour and within the chart: below in the first days, above in the others. */
function hoverStyle(place: Place, layout: Layout, width: number) {
  const box = boxOf(place, layout);
  const left = Math.min(Math.max(0, box.x + box.width / 2 - HOVER_PX / 2), Math.max(0, width - HOVER_PX));
  return { left, width: HOVER_PX, top: place.row < 3 ? box.y + box.height + 6 : box.y - 6 };
}

function placesOf(days: readonly HeatDay[], { from, to }: { from: number; to: number }): Place[] {
  return days.flatMap((day, row) =>
    day.cells.flatMap((cell, column) => (cell.hours.some(({ t }) => t < to && t + HOUR > from) ? [{ row, column }] : [])),
  );
}

/** The newest hour with a value: where the keyboard begins. */
function newest(days: readonly HeatDay[]): Place {
  for (let row = days.length - 1; row >= 0; row--) {
    const column = days[row]?.cells.findLastIndex((cell) => cell.value !== null) ?? -1;
    if (column >= 0) return { row, column };
  }
  return { row: 0, column: 0 };
}

function within(i: number, count: number): number {
  return Math.min(Math.max(i, 0), count - 1);
}

function useSize(element: RefObject<HTMLElement | null>): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setSize({ width: Math.floor(entry.contentRect.width), height: Math.floor(entry.contentRect.height) });
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return size;
}
