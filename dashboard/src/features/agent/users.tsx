import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useMemo } from "react";
import type { SeriesPoint } from "@/api/generated.ts";
import { kpisQuery, seriesQuery } from "@/api/queries.ts";
import { NoData } from "@/components/no-data.tsx";
import { Panel } from "@/components/panel.tsx";
import type { ChartSeries } from "@/components/time-chart.tsx";
import { Value } from "@/components/value.tsx";
import { useCommon, useZoom } from "@/lib/common.ts";
import { DAY, type Range, spanOf } from "@/lib/range.ts";
import { pointsOf, seriesTable } from "@/lib/series.ts";

const TimeChart = lazy(() => import("@/components/time-chart.tsx").then((m) => ({ default: m.TimeChart })));

const USERS: readonly ChartSeries[] = [{ key: "users", label: "Users", color: "var(--chart-1)", kind: "bar" }];
const COLUMNS: Record<string, (point: SeriesPoint) => number | null> = {
  Users: (p) => p.visitors,
  Messages: (p) => p.messages,
};
const FIGURES = [
  { id: "unique_users", title: "unique" },
  { id: "returning_users", title: "returning" },
  { id: "messages_per_user", title: "messages each" },
] as const;
/** Users are known by day, so a short range is shown within its last two weeks. */
const FEWEST_DAYS = 14;

/** How many people use it, day by day. */
export function Users({ agentId }: { agentId: string }) {
  const { range, zone } = useCommon();
  const zoom = useZoom();
  const days = daysOf(range, Date.now());
  const series = useQuery(seriesQuery([agentId], days, "day"));
  const points = useMemo(() => pointsOf(series.data?.items ?? [], (item) => ({ users: item.visitors })), [series.data]);
  return (
    <Panel
      title="Users by day"
      note="UTC days"
      query={series}
      height="h-64"
      isEmpty={(data) => data.items.every((item) => !item.visitors)}
      empty={<NoData agents={[agentId]} what="users" />}
      legend={USERS}
      table={(data) => seriesTable(data, COLUMNS)}
      actions={
        <Link to="/events" search={{ agents: [agentId], filter: "type:user_message" } as never} className="link px-1 text-xs">
          Messages
        </Link>
      }
    >
      {(data) => (
        <>
          <Figures agentId={agentId} />
          <Suspense fallback={null}>
            <TimeChart
              label="Users by day"
              points={points}
              series={USERS}
              unit="count"
              interval={data.interval}
              zone={zone}
              onZoom={zoom}
            />
          </Suspense>
        </>
      )}
    </Panel>
  );
}

function Figures({ agentId }: { agentId: string }) {
  const { range } = useCommon();
  const { data } = useQuery(kpisQuery([agentId], range));
  return (
    <dl className="mb-1 flex min-h-5 flex-wrap gap-x-4">
      {FIGURES.map(({ id, title }) => {
        const kpi = data?.kpis.find((each) => each.id === id);
        return (
          <div key={id} className="flex items-baseline gap-1" title={kpi?.description}>
            <dt className="order-last text-muted-foreground text-xs">{title}</dt>
            <dd className="font-semibold">
              <Value value={kpi?.hasData ? kpi.value : null} />
            </dd>
          </div>
        );
      })}
    </dl>
  );
}

/** Whole days up to the last of the range; the same all day long, so that the question stays the same. */
function daysOf(range: Range, now: number): Range {
  const { start, end } = spanOf(range, now);
  const last = Math.floor((end - 1) / DAY) * DAY;
  const first = Math.min(Math.floor(start / DAY) * DAY, last - (FEWEST_DAYS - 1) * DAY);
  return { from: first, to: last + DAY - 1 };
}
