/** Figures of a range side by side, each against the range before it. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import type { SeriesPoint } from "@/api/generated.ts";
import { kpisQuery } from "@/api/queries.ts";
import { useCommon } from "@/lib/common.ts";
import { formatNumber } from "@/lib/format.ts";
import { useFailure } from "@/lib/use-failure.ts";
import { KpiCard, KpiCardFrame, type KpiCardProps } from "./kpi-card.tsx";
import { PanelError, StaleMark } from "./panel.tsx";
import { Card } from "./ui/card.tsx";
import { Skeleton } from "./ui/skeleton.tsx";

export interface Figure {
  /** As the API names it. */
  id: string;
  title: string;
  /** What its sparkline shows of each interval. */
  trend?: (point: SeriesPoint) => number | null;
  /** Where the events behind it are. */
  link?: KpiCardProps["link"] | ((value: number) => KpiCardProps["link"]);
}

interface KpiCardsProps {
  /** Whose figures; all agents' where empty. */
  agents: readonly string[];
  figures: readonly Figure[];
  points: readonly SeriesPoint[] | undefined;
  /** Columns of the grid. */
  className: string;
}

export function KpiCards({ agents, figures, points, className }: KpiCardsProps) {
  const { range } = useCommon();
  const kpis = useQuery(kpisQuery(agents, range));
  const trends = useMemo(
    () => new Map(figures.map(({ id, trend }) => [id, trend && points ? points.map(trend) : undefined])),
    [figures, points],
  );
  const failure = useFailure(kpis);
  if (failure) {
    return (
      <Card aria-label="Key figures" className="flex min-h-[98px]">
        <PanelError error={failure} onRetry={() => kpis.refetch()} />
      </Card>
    );
  }
  return (
    <div className={className}>
      <StaleMark query={kpis} className="col-span-full justify-self-start" />
      {figures.map(({ id, title, link }) => {
        const kpi = kpis.data?.kpis.find((each) => each.id === id);
        if (!kpi) {
          return (
            <KpiCardFrame key={id} title={title}>
              {kpis.data ? <p className="text-figure">{formatNumber(null)}</p> : <Skeleton className="mt-1 h-7 w-16" />}
            </KpiCardFrame>
          );
        }
        const to = typeof link === "function" ? link(kpi.value) : link;
        return <KpiCard key={id} title={title} kpi={kpi} trend={trends.get(id)} link={to} />;
      })}
    </div>
  );
}
