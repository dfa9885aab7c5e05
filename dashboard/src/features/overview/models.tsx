import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import type { SeriesAnswer } from "@/api/generated.ts";
import { seriesQuery } from "@/api/queries.ts";
import { NoData } from "@/components/no-data.tsx";
import { Panel } from "@/components/panel.tsx";
import type { ChartSeries } from "@/components/time-chart.tsx";
import { now } from "@/lib/clock.ts";
import { useCommon, useZoom } from "@/lib/common.ts";
import { spanOf } from "@/lib/range.ts";
import { pointsOf, seriesTable } from "@/lib/series.ts";

const TimeChart = lazy(() => import("@/components/time-chart.tsx").then((m) => ({ default: m.TimeChart })));

const COLORS = ["var(--chart-1)", "var(--chart-2)", "var(--chart-3)", "var(--chart-4)", "var(--chart-5)"];
const REST_COLOR = "var(--chart-6)";

/** The models that cost most, and one name for the rest. */
function costliest(data: SeriesAnswer | undefined): string[] {
  const sums = new Map<string, number>();
  for (const item of data?.items ?? []) {
    for (const [model, cost] of Object.entries(item.model_cost_usd)) sums.set(model, (sums.get(model) ?? 0) + cost);
  }
  return [...sums].sort((a, b) => b[1] - a[1]).map(([model]) => model);
}

/** Known cost over time by model. */
export function ModelCost() {
  const { agents, range, zone } = useCommon();
  const zoom = useZoom();
  // Models are kept by hour and day.
  const isFine = spanOf(range, now()).interval === "5m";
  const series = useQuery(seriesQuery(agents, range, isFine ? "hour" : undefined));
  const models = useMemo(() => costliest(series.data), [series.data]);
  // Names are the clients' own, so the chart gets keys of ours.
  const { shown, points } = useMemo(() => {
    const named = models.slice(0, COLORS.length);
    const rest = models.slice(COLORS.length);
    const bars = named.map((model, i) => ({ key: `m${i}`, label: model, color: COLORS[i] ?? REST_COLOR, of: [model] }));
    if (rest.length > 0) bars.push({ key: "rest", label: `${rest.length} others`, color: REST_COLOR, of: rest });
    const values = (costs: Record<string, number>) =>
      Object.fromEntries(bars.map(({ key, of }) => [key, of.reduce((sum, model) => sum + (costs[model] ?? 0), 0)]));
    return {
      shown: bars.map(({ key, label, color }): ChartSeries => ({ key, label, color, kind: "bar", stack: "cost" })),
      points: pointsOf(series.data?.items ?? [], (item) => values(item.model_cost_usd)),
    };
  }, [series.data, models]);
  return (
    <Panel
      title="Cost by model"
      note="known prices only"
      query={series}
      height="h-64"
      isEmpty={() => models.length === 0}
      empty={<NoData />}
      legend={shown}
      table={(data) =>
        seriesTable(data, Object.fromEntries(models.map((model) => [`${model} ($)`, (p) => p.model_cost_usd[model] ?? null])))
      }
    >
      {(data) => (
        <Suspense fallback={null}>
          <TimeChart
            label="Cost by model over time"
            points={points}
            series={shown}
            unit="usd"
            interval={data.interval}
            zone={zone}
            onZoom={zoom}
          />
        </Suspense>
      )}
    </Panel>
  );
}
