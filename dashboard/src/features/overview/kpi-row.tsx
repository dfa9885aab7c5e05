import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import type { SeriesPoint } from "@/api/generated.ts";
import { kpisQuery } from "@/api/queries.ts";
import { KpiCard, KpiCardFrame, type KpiCardProps } from "@/components/kpi-card.tsx";
import { PanelError } from "@/components/panel.tsx";
import { Card } from "@/components/ui/card.tsx";
import { Skeleton } from "@/components/ui/skeleton.tsx";
import { useCommon } from "@/lib/common.ts";
import { formatNumber } from "@/lib/format.ts";

interface Figure {
  id: string;
  title: string;
  trend?: (point: SeriesPoint) => number | null;
  link: KpiCardProps["link"] | ((value: number) => KpiCardProps["link"]);
}

const events = (filter: string) => ({ to: "/events", search: { filter } }) as KpiCardProps["link"];

const FIGURES: readonly Figure[] = [
  { id: "total_messages", title: "Messages", trend: (p) => p.messages, link: events("type:user_message") },
  { id: "responses", title: "Responses", trend: (p) => p.responses, link: events("type:agent_response") },
  { id: "error_rate", title: "Error rate", trend: (p) => (p.messages > 0 ? p.error_rate : null), link: { to: "/errors" } },
  {
    id: "p95_response_time",
    title: "p95 response time",
    trend: (p) => p.p95_response_time_ms ?? p.average_response_time_ms,
    link: (value) => events(`ms>${Math.floor(value)}`),
  },
  { id: "tokens", title: "Tokens", trend: (p) => p.tokens, link: events("type:agent_response") },
  { id: "cost", title: "Cost", trend: (p) => p.cost_usd, link: events("type:agent_response") },
  { id: "active_agents", title: "Active agents", link: { to: "/agents" } },
  { id: "unique_users", title: "Users", trend: (p) => p.visitors, link: events("type:user_message") },
  { id: "feedback", title: "Feedback", trend: (p) => p.average_feedback_score, link: events("type:feedback") },
];

/** The nine figures, each against the range before, each leading to its events. */
export function KpiRow({ points }: { points: readonly SeriesPoint[] | undefined }) {
  const { agents, range } = useCommon();
  const kpis = useQuery(kpisQuery(agents, range));
  const trends = useMemo(
    () => new Map(FIGURES.map(({ id, trend }) => [id, trend && points ? points.map(trend) : undefined])),
    [points],
  );
  if (kpis.isError && !kpis.data) {
    return (
      <Card aria-label="Key figures" className="flex min-h-[98px]">
        <PanelError error={kpis.error} onRetry={() => kpis.refetch()} />
      </Card>
    );
  }
  return (
    <div className="grid grid-cols-2 gap-2 sm:grid-cols-3 sm:gap-3 lg:grid-cols-5 xl:grid-cols-9 xl:gap-2">
      {FIGURES.map(({ id, title, link }) => {
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
