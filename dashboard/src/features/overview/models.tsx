import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import type { SeriesAnswer } from "@/api/generated.ts";
import { seriesQuery } from "@/api/queries.ts";
import { NoData } from "@/components/no-data.tsx";
import { Panel } from "@/components/panel.tsx";
import type { ChartSeries } from "@/components/time-chart.tsx";
import { useCommon, useZoom } from "@/lib/common.ts";
import { spanOf } from "@/lib/range.ts";
import { pointsOf, seriesTable } from "@/lib/series.ts";

const TimeChart = lazy(() => import("@/components/time-chart.tsx").then((m) => ({ default: m.TimeChart })));

const COLORS = ["var(--chart-1)", "var(--chart-2)", "var(--chart-3)", "var(--chart-4)", "var(--chart-5)"];
const REST = "all others";

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
  const isFine = spanOf(range, Date.now()).interval === "5m";
  const series = useQuery(seriesQuery(agents, range, isFine ? "hour" : undefined));
  const models = useMemo(() => costliest(series.data), [series.data]);
  const named = models.slice(0, COLORS.length);
  const shown: ChartSeries[] = named.map((model, i) => ({
    key: model,
    label: model,
    color: COLORS[i] ?? "var(--chart-6)",
    kind: "bar",
    stack: "cost",
  }));
  if (models.length > named.length) shown.push({ key: REST, label: REST, color: "var(--chart-6)", kind: "bar", stack: "cost" });
  const points = useMemo(
    () =>
      pointsOf(series.data?.items ?? [], (item) => {
        const values: Record<string, number | null> = {};
        for (const model of named) values[model] = item.model_cost_usd[model] ?? 0;
        if (models.length > named.length)
          values[REST] = models.slice(named.length).reduce((sum, model) => sum + (item.model_cost_usd[model] ?? 0), 0);
        return values;
      }),
    [series.data, named, models],
  );
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
