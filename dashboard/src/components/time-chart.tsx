/** Numbers over time. Gaps stay gaps; a drag zooms; the arrow keys walk through the points. Takes plain arrays and knows no API. */
import { memo, useMemo, useState } from "react";
import {
  Area,
  Bar,
  CartesianGrid,
  ComposedChart,
  type MouseHandlerDataParam,
  Tooltip,
  type TooltipContentProps,
  XAxis,
  YAxis,
} from "recharts";
import { formatExact, formatNumber, formatTime, type Unit, type Zone } from "@/lib/format.ts";
import { INTERVAL_MS, type Interval } from "@/lib/range.ts";
import { tickLabel, ticksOf } from "@/lib/ticks.ts";
import { useTurn } from "@/lib/turns.ts";

export interface ChartSeries {
  key: string;
  label: string;
  color: string;
  /** A line where absent. */
  kind?: "line" | "area" | "bar";
  /** Drawn dashed, as the range before is. */
  isDashed?: boolean;
  /** Series of one stack are drawn on top of each other. */
  stack?: string;
}

/** A time (ms, where its interval begins) and a value per series; null where there is none. */
export interface ChartPoint {
  t: number;
  [key: string]: number | null;
}

export interface TimeChartProps {
  label: string;
  points: readonly ChartPoint[];
  series: readonly ChartSeries[];
  unit: Unit;
  interval: Interval;
  zone: Zone;
  /** Given the times between which the viewer dragged. */
  onZoom?: (from: number, to: number) => void;
  /** Given the series that was clicked in the legend; with it the legend is a row of buttons. */
  onPick?: (key: string) => void;
}

/** Where the pointer is: a point's time (ms) and its distance from the left edge (px). */
interface Place {
  t: number;
  x: number;
}

interface Drag {
  from: Place;
  to: Place;
}

export function TimeChart({ label, points, series, unit, interval, zone, onZoom, onPick }: TimeChartProps) {
  const dayZone = interval === "day" ? "utc" : zone;
  // A page of charts takes longer to draw than a click may take to be answered.
  const plot = useTurn({ points, series, unit, interval, zone: dayZone, onZoom });
  return (
    <figure className="flex min-h-0 min-w-0 flex-1 flex-col" aria-label={label}>
      <Legend series={series} onPick={onPick} />
      <figcaption className="sr-only">{summary(points, series, unit, dayZone, interval)}</figcaption>
      <div className="relative min-h-0 flex-1 select-none">{plot && <Plot {...plot} />}</div>
    </figure>
  );
}

type PlotProps = Pick<TimeChartProps, "points" | "series" | "unit" | "interval" | "zone" | "onZoom">;

const Plot = memo(function Plot({ points, series, unit, interval, zone, onZoom }: PlotProps) {
  const [drag, setDrag] = useState<Drag | null>(null);
  const width = INTERVAL_MS[interval];
  const first = points[0]?.t ?? 0;
  const last = points.at(-1)?.t ?? 0;
  const ticks = useMemo(() => ticksOf(first, last, zone), [first, last, zone]);
  const hasBars = series.some((s) => s.kind === "bar");
  const domain: [number, number] = hasBars ? [first - width / 2, last + width / 2] : [first, last];

  const place = (state: MouseHandlerDataParam): Place | null => {
    const t = Number(state.activeLabel);
    const x = state.activeCoordinate?.x;
    return Number.isFinite(t) && x !== undefined ? { t, x } : null;
  };
  const endDrag = () => {
    if (drag && drag.from.t !== drag.to.t) {
      const [from, to] = [Math.min(drag.from.t, drag.to.t), Math.max(drag.from.t, drag.to.t)];
      onZoom?.(from, to + width);
    }
    setDrag(null);
  };

  return (
    <>
      <ComposedChart
        responsive
        className="absolute! inset-0"
        data={points as ChartPoint[]}
        margin={{ top: 8, right: 8, bottom: 0, left: 0 }}
        onMouseDown={(state) => {
          const at = onZoom && place(state);
          if (at) setDrag({ from: at, to: at });
        }}
        onMouseMove={(state) => {
          const at = drag && place(state);
          if (at) setDrag({ from: drag.from, to: at });
        }}
        onMouseUp={endDrag}
        onMouseLeave={() => setDrag(null)}
        accessibilityLayer
      >
        <CartesianGrid vertical={false} stroke="var(--chart-grid)" />
        <XAxis
          dataKey="t"
          type="number"
          scale="time"
          domain={domain}
          ticks={ticks}
          tickFormatter={(t: number) => tickLabel(t, first, last, zone)}
          tick={AXIS}
          tickLine={false}
          axisLine={{ stroke: "var(--border)" }}
          minTickGap={24}
          height={22}
        />
        <YAxis
          tickFormatter={(value: number) => formatNumber(value, unit)}
          tick={AXIS}
          tickLine={false}
          axisLine={false}
          width={54}
          tickCount={unit === "points" ? 6 : 4}
          allowDecimals={unit !== "count"}
          domain={[0, unit === "points" ? 5 : "auto"]}
        />
        <Tooltip
          isAnimationActive={false}
          cursor={{ stroke: "var(--control-border)", fill: "var(--muted)", fillOpacity: 0.5 }}
          content={(tooltip) => <Hover {...tooltip} series={series} unit={unit} interval={interval} zone={zone} />}
        />
        {series.map((s) => drawn(s, points))}
      </ComposedChart>
      {drag && drag.from.t !== drag.to.t && (
        <div
          aria-hidden
          className="pointer-events-none absolute top-2 bottom-6 bg-primary/15"
          style={{ left: Math.min(drag.from.x, drag.to.x), width: Math.abs(drag.from.x - drag.to.x) }}
        />
      )}
    </>
  );
});

const AXIS = { fontSize: 11, fill: "var(--muted-foreground)" };

function drawn(s: ChartSeries, points: readonly ChartPoint[]) {
  const common = { key: s.key, dataKey: s.key, name: s.label, isAnimationActive: false, stroke: s.color } as const;
  if (s.kind === "bar") return <Bar {...common} key={s.key} stackId={s.stack} fill={s.color} stroke="none" maxBarSize={28} />;
  const line = {
    ...common,
    type: "linear" as const,
    strokeWidth: s.isDashed ? 1.25 : 1.75,
    strokeDasharray: s.isDashed ? "4 3" : undefined,
    dot: lonely(s.key, points, s.color),
    activeDot: { r: 3 },
    connectNulls: false,
  };
  // A line is an area without a filling: one shape less to load.
  const fillOpacity = s.kind !== "area" ? 0 : s.stack ? 0.5 : 0.12;
  return <Area {...line} key={s.key} stackId={s.stack} fill={s.color} fillOpacity={fillOpacity} />;
}

/** A point between two gaps has no line to be seen by, so it gets a dot. */
function lonely(key: string, points: readonly ChartPoint[], color: string) {
  const has = (i: number) => points[i]?.[key] !== null && points[i]?.[key] !== undefined;
  if (!points.some((_, i) => has(i) && !has(i - 1) && !has(i + 1))) return false;
  return (dot: { cx?: number; cy?: number; index?: number }) => {
    const i = dot.index ?? 0;
    const isLonely = has(i) && !has(i - 1) && !has(i + 1);
    return isLonely ? <circle key={i} cx={dot.cx} cy={dot.cy} r={2} fill={color} /> : <g key={i} />;
  };
}

function Legend({ series, onPick }: { series: readonly ChartSeries[]; onPick: TimeChartProps["onPick"] }) {
  if (series.length < 2) return null;
  const entry = (s: ChartSeries) => (
    <>
      <svg aria-hidden width="12" height="10" className="shrink-0">
        {s.kind === "bar" || s.kind === "area" ? (
          <rect width="10" height="10" rx="2" fill={s.color} />
        ) : (
          <line x1="0" y1="5" x2="12" y2="5" stroke={s.color} strokeWidth="2" strokeDasharray={s.isDashed ? "3 2" : undefined} />
        )}
      </svg>
      <span className="max-w-40 truncate">{s.label}</span>
    </>
  );
  return (
    <ul className="mb-1 flex flex-wrap gap-x-3 gap-y-0.5 text-muted-foreground text-xs">
      {series.map((s) => (
        <li key={s.key} className="flex items-center gap-1.5">
          {onPick ? (
            <button type="button" className="flex items-center gap-1.5 hover:text-foreground" onClick={() => onPick(s.key)}>
              {entry(s)}
            </button>
          ) : (
            entry(s)
          )}
        </li>
      ))}
    </ul>
  );
}

type HoverProps = Pick<TooltipContentProps, "active" | "label" | "payload"> &
  Pick<TimeChartProps, "series" | "unit" | "interval" | "zone">;

function Hover({ active, label, payload, series, unit, interval, zone }: HoverProps) {
  const point = payload?.[0]?.payload as ChartPoint | undefined;
  if (!active || !point) return null;
  return (
    <div className="rounded-md border bg-raised px-2.5 py-2 text-xs shadow-lg">
      <p className="mb-1 font-medium">{intervalText(Number(label), interval, zone)}</p>
      <ul className="space-y-0.5">
        {series.map((s) => (
          <li key={s.key} className="flex items-center justify-between gap-4">
            <span className="flex items-center gap-1.5 text-muted-foreground">
              <svg aria-hidden width="8" height="8">
                <rect width="8" height="8" rx="2" fill={s.color} fillOpacity={s.isDashed ? 0.5 : 1} />
              </svg>
              {s.label}
            </span>
            <span className="font-medium">{formatNumber(point[s.key], unit)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

/** `26 Nov, 10:00–11:00`. */
function intervalText(t: number, interval: Interval, zone: Zone): string {
  if (interval === "day") return `${formatTime(t, "utc", "day")} (UTC)`;
  return `${formatTime(t, zone, "minute")}–${formatTime(t + INTERVAL_MS[interval], zone, "clock")}`;
}

/** What a chart shows, in words. */
function summary(
  points: readonly ChartPoint[],
  series: readonly ChartSeries[],
  unit: Unit,
  zone: Zone,
  interval: Interval,
): string {
  const of = (s: ChartSeries) => {
    const known = points.filter((p) => p[s.key] !== null && p[s.key] !== undefined);
    const top = known.reduce<ChartPoint | null>(
      (best, p) => (best === null || Number(p[s.key]) > Number(best[s.key]) ? p : best),
      null,
    );
    if (!top) return `${s.label}: no data.`;
    const newest = known.at(-1);
    return `${s.label}: highest ${formatExact(top[s.key], unit)} at ${intervalText(top.t, interval, zone)}, newest ${formatExact(newest?.[s.key], unit)}.`;
  };
  return series.map(of).join(" ");
}
