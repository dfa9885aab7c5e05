/** How the fleet is doing and what changed. */
import { useQuery } from "@tanstack/react-query";
import { seriesQuery } from "@/api/queries.ts";
import { ModelsPanel } from "@/components/panels/models-panel.tsx";
import { ResponseTimesPanel } from "@/components/panels/response-times-panel.tsx";
import { TrafficPanel } from "@/components/panels/traffic-panel.tsx";
import { useCommon } from "@/lib/common.ts";
import { AgentRanking } from "./agent-ranking.tsx";
import { Attention } from "./attention.tsx";
import { KpiRow } from "./kpi-row.tsx";
import { LatestErrors } from "./latest-errors.tsx";
import { ModelCost } from "./models.tsx";

export function Overview() {
  const { agents, range } = useCommon();
  const series = useQuery(seriesQuery(agents, range));
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Overview</h1>
      <Attention />
      <KpiRow points={series.data?.items} />
      <div className="grid gap-3 xl:grid-cols-2">
        <TrafficPanel agents={agents} series={series} />
        <ResponseTimesPanel agents={agents} series={series} />
      </div>
      <div className="grid gap-3 xl:grid-cols-3">
        <AgentRanking className="xl:col-span-2" />
        <LatestErrors />
      </div>
      <div className="grid gap-3 xl:grid-cols-2">
        <ModelCost />
        <ModelsPanel agents={agents} />
      </div>
    </div>
  );
}
