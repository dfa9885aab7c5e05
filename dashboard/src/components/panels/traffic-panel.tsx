import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import type { SeriesAnswer, SeriesPoint } from "@/api/generated.ts";
import { previousSeriesQuery } from "@/api/queries.ts";
import { NoData } from "@/components/no-data.tsx";
import { Panel } from "@/components/panel.tsx";
import type { ChartSeries } from "@/components/time-chart.tsx";
import { useCommon, useZoom } from "@/lib/common.ts";
import { INTERVAL_MS, type Span } from "@/lib/range.ts";
import { pointsOf, seriesTable } from "@/lib/series.ts";

const TimeChart = lazy(() => import("@/components/time-chart.tsx").then((m) => ({ default: m.TimeChart })));

const TRAFFIC: readonly ChartSeries[] = [{ key: "messages", label: "Messages", color: "var(--chart-1)", kind: "area" }];
const BEFORE: ChartSeries = { key: "before", label: "Messages before", color: "var(--chart-6)", isDashed: true };
const ERRORS: readonly ChartSeries[] = [{ key: "errors", label: "Errors", color: "var(--chart-bad)", kind: "bar" }];
const COLUMNS: Record<string, (point: SeriesPoint) => number | null> = {
  Messages: (p) => p.messages,
  Events: (p) => p.calls,
  Errors: (p) => p.errors,
};
const LEGEND = [...TRAFFIC, ...ERRORS];

interface TrafficPanelProps {
  /** Whose messages; all agents' where empty. */
  agents: readonly string[];
  series: UseQueryResult<SeriesAnswer & { span: Span }, Error>;
}

/** Messages over the range before it, and errors below. */
export function TrafficPanel({ agents, series }: TrafficPanelProps) {
  const { range, zone, isCompared } = useCommon();
  const zoom = useZoom();
  const previous = useQuery({ ...previousSeriesQuery(agents, range), enabled: isCompared });
  const before = isCompared ? previous.data : undefined;
  const points = useMemo(() => {
    const items = series.data?.items ?? [];
    // Both were asked for at moments of their own, so they are laid over each other by time, not by place.
    const length = before ? before.span.end - before.span.start : 0;
    const width = series.data ? INTERVAL_MS[series.data.interval] : 1;
    const shift = Math.round(length / width) * width;
    const then = new Map(before?.items.map((item) => [Date.parse(item.date) + shift, item.messages]));
    return pointsOf(items, (item) => ({
      messages: item.messages,
      errors: item.errors,
      before: then.get(Date.parse(item.date)) ?? null,
    }));
  }, [series.data, before]);
  return (
    <Panel
      title="Traffic and errors"
      query={series}
      height="h-72"
      isEmpty={(data) => data.items.every((item) => item.calls === 0)}
      empty={<NoData agents={agents} what="events" />}
      legend={LEGEND}
      table={(data) => seriesTable(data, COLUMNS)}
    >
      {(data) => (
        <Suspense fallback={null}>
          <div className="flex min-h-0 flex-[3] flex-col">
            <TimeChart
              label="Messages over time"
              points={points}
              series={before ? [...TRAFFIC, BEFORE] : TRAFFIC}
              unit="count"
              interval={data.interval}
              zone={zone}
              onZoom={zoom}
            />
          </div>
          <p className="mt-1 text-muted-foreground text-xs">Errors</p>
          <div className="flex min-h-0 flex-[2] flex-col">
            <TimeChart
              label="Errors over time"
              points={points}
              series={ERRORS}
              unit="count"
              interval={data.interval}
              zone={zone}
              onZoom={zoom}
            />
          </div>
        </Suspense>
      )}
    </Panel>
  );
}
