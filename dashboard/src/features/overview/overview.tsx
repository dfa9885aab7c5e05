/** How the fleet is doing and what changed. */
import { useQuery } from "@tanstack/react-query";
import { seriesQuery } from "@/api/queries.ts";
import { useCommon } from "@/lib/common.ts";
import { AgentRanking } from "./agent-ranking.tsx";
import { Attention } from "./attention.tsx";
import { KpiRow } from "./kpi-row.tsx";
import { LatestErrors } from "./latest-errors.tsx";
import { ModelCost, ModelTable } from "./models.tsx";
import { ResponseTimes } from "./response-times.tsx";
import { Traffic } from "./traffic.tsx";

export function Overview() {
  const { agents, range } = useCommon();
  const series = useQuery(seriesQuery(agents, range));
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Overview</h1>
      <Attention />
      <KpiRow points={series.data?.items} />
      <div className="grid gap-3 xl:grid-cols-2">
        <Traffic series={series} />
        <ResponseTimes series={series} />
      </div>
      <div className="grid gap-3 xl:grid-cols-3">
        <AgentRanking className="xl:col-span-2" />
        <LatestErrors />
      </div>
      <div className="grid gap-3 xl:grid-cols-2">
        <ModelCost />
        <ModelTable />
      </div>
    </div>
  );
}
