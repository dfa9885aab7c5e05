import type { UseQueryResult } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import type { SeriesAnswer, SeriesPoint } from "@/api/generated.ts";
import { NoData } from "@/components/no-data.tsx";
import { Panel } from "@/components/panel.tsx";
import type { ChartSeries } from "@/components/time-chart.tsx";
import { useCommon, useZoom } from "@/lib/common.ts";
import { pointsOf, seriesTable } from "@/lib/series.ts";

const TimeChart = lazy(() => import("@/components/time-chart.tsx").then((m) => ({ default: m.TimeChart })));

const PERCENTILES: readonly ChartSeries[] = [
  { key: "p50", label: "p50", color: "var(--chart-1)" },
  { key: "p95", label: "p95", color: "var(--chart-2)" },
  { key: "p99", label: "p99", color: "var(--chart-5)" },
];
/** Percentiles are kept by hour; five minutes have the mean and the longest. */
const MEAN_AND_MAX: readonly ChartSeries[] = [
  { key: "mean", label: "Mean", color: "var(--chart-1)" },
  { key: "max", label: "Longest", color: "var(--chart-5)" },
];

const COLUMNS: Record<string, (point: SeriesPoint) => number | null> = {
  "Mean (ms)": (p) => p.average_response_time_ms,
  "p50 (ms)": (p) => p.p50_response_time_ms,
  "p95 (ms)": (p) => p.p95_response_time_ms,
  "p99 (ms)": (p) => p.p99_response_time_ms,
  "Longest (ms)": (p) => p.max_response_time_ms,
};

interface ResponseTimesPanelProps {
  /** Whose answers; all agents' where empty. */
  agents: readonly string[];
  series: UseQueryResult<SeriesAnswer, Error>;
}

/** How long answers take. */
export function ResponseTimesPanel({ agents, series }: ResponseTimesPanelProps) {
  const { zone } = useCommon();
  const zoom = useZoom();
  const points = useMemo(
    () =>
      pointsOf(series.data?.items ?? [], (item) => ({
        p50: item.p50_response_time_ms,
        p95: item.p95_response_time_ms,
        p99: item.p99_response_time_ms,
        mean: item.average_response_time_ms,
        max: item.max_response_time_ms,
      })),
    [series.data],
  );
  const shown = series.data?.interval === "5m" ? MEAN_AND_MAX : PERCENTILES;
  return (
    <Panel
      title="Response time"
      note={series.data && series.data.interval !== "5m" ? `estimates within ${series.data.percentile_error * 100} %` : undefined}
      query={series}
      height="h-72"
      isEmpty={(data) => data.items.every((item) => item.response_time_count === 0)}
      empty={<NoData agents={agents} what="response times" />}
      legend={shown}
      table={(data) => seriesTable(data, COLUMNS)}
    >
      {(data) => (
        <Suspense fallback={null}>
          <TimeChart
            label="Response time over time"
            points={points}
            series={shown}
            unit="ms"
            interval={data.interval}
            zone={zone}
            onZoom={zoom}
          />
        </Suspense>
      )}
    </Panel>
  );
}
