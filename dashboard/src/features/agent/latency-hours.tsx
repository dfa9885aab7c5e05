import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useMemo } from "react";
import { hoursQuery } from "@/api/queries.ts";
import { imageLegend } from "@/components/heat-legend.tsx";
import { NoData } from "@/components/no-data.tsx";
import { Panel } from "@/components/panel.tsx";
import { useCommon, useZoom } from "@/lib/common.ts";
import type { Table } from "@/lib/csv.ts";
import { formatTime, type Zone } from "@/lib/format.ts";
import { type HeatDay, heatDays, heatScale, hourSpan, timeZoneOf } from "@/lib/heat.ts";
import { DAY, spanOf } from "@/lib/range.ts";

const Heatmap = lazy(() => import("@/components/heatmap.tsx").then((m) => ({ default: m.Heatmap })));

/** When this agent is slow: the p95 of each hour, a row per day. */
export function LatencyHours({ agentId }: { agentId: string }) {
  const { range, zone } = useCommon();
  const zoom = useZoom();
  const query = useQuery(hoursQuery(agentId, range, zone));
  const days = useMemo(() => {
    const items = query.data?.items ?? [];
    const hours = items.map((item) => ({
      t: Date.parse(item.date),
      value: item.p95_response_time_ms,
      count: item.response_time_count,
    }));
    return heatDays(hours, timeZoneOf(zone));
  }, [query.data, zone]);
  const scale = useMemo(
    () => heatScale(days.flatMap((day) => day.cells.map((cell) => cell.value)).filter((value) => value !== null)),
    [days],
  );
  const now = Date.now();
  const span = hourSpan(spanOf(range, now), now, zone);
  const rows = Math.ceil((span.end - span.start) / DAY);
  const selected = "preset" in range || range.to - range.from >= DAY ? undefined : range;
  return (
    <Panel
      title="Latency by hour"
      note={`p95 of each hour, ${zone === "utc" ? "UTC" : "your clock"}`}
      query={query}
      height={rows <= 8 ? "h-64" : rows <= 16 ? "h-96" : "h-[34rem]"}
      isEmpty={() => days.every((day) => day.cells.every((cell) => cell.value === null))}
      empty={<NoData agents={[agentId]} what="response times" />}
      legend={imageLegend(scale, "ms")}
      table={() => hoursTable(days, zone)}
    >
      {() => (
        <Suspense fallback={null}>
          <Heatmap
            label="p95 latency by day and hour"
            days={days}
            scale={scale}
            unit="ms"
            zone={zone}
            valueTitle="p95"
            countTitle="response times"
            selected={selected}
            onPick={zoom}
          />
        </Suspense>
      )}
    </Panel>
  );
}

function hoursTable(days: readonly HeatDay[], zone: Zone): Table {
  const hours = Array.from({ length: 24 }, (_, hour) => `${String(hour).padStart(2, "0")}:00`);
  return {
    columns: [`p95 in ms, ${zone === "utc" ? "UTC" : "local time"}`, ...hours],
    rows: days.map((day) => [formatTime(day.t, zone, "weekday"), ...day.cells.map((cell) => cell.value)]),
  };
}
