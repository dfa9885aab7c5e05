import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import type { SeriesPoint } from "@/api/generated.ts";
import { seriesQuery } from "@/api/queries.ts";
import { NoData } from "@/components/no-data.tsx";
import { Panel } from "@/components/panel.tsx";
import type { ChartSeries } from "@/components/time-chart.tsx";
import { useCommon, useZoom } from "@/lib/common.ts";
import { pointsOf, seriesTable } from "@/lib/series.ts";

const TimeChart = lazy(() => import("@/components/time-chart.tsx").then((m) => ({ default: m.TimeChart })));

const ERRORS: readonly ChartSeries[] = [{ key: "errors", label: "Errors", color: "var(--chart-bad)", kind: "bar" }];

const COLUMNS: Record<string, (point: SeriesPoint) => number | null> = {
  Errors: (p) => p.errors,
  Messages: (p) => p.messages,
};

/** All errors over time, every one of them counted; a drag zooms the range. */
export function ErrorTrend() {
  const { agents, range, zone } = useCommon();
  const zoom = useZoom();
  const series = useQuery(seriesQuery(agents, range));
  const points = useMemo(() => pointsOf(series.data?.items ?? [], (item) => ({ errors: item.errors })), [series.data]);
  return (
    <Panel
      title="All errors"
      query={series}
      height="h-44"
      isEmpty={(data) => data.items.every((item) => item.calls === 0)}
      empty={<NoData />}
      legend={ERRORS}
      table={(data) => seriesTable(data, COLUMNS)}
    >
      {(data) => (
        <Suspense fallback={null}>
          <TimeChart
            label="Errors over time"
            points={points}
            series={ERRORS}
            unit="count"
            interval={data.interval}
            zone={zone}
            onZoom={zoom}
          />
        </Suspense>
      )}
    </Panel>
  );
}
