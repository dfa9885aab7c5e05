/** One agent: its figures against its own past, and what they are made of. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useMemo } from "react";
import { ApiError } from "@/api/http.ts";
import { agentQuery, seriesQuery } from "@/api/queries.ts";
import { KpiCards } from "@/components/kpi-cards.tsx";
import { ModelsPanel } from "@/components/panels/models-panel.tsx";
import { ResponseTimesPanel } from "@/components/panels/response-times-panel.tsx";
import { TrafficPanel } from "@/components/panels/traffic-panel.tsx";
import { useCommon } from "@/lib/common.ts";
import { AgentHeader } from "./agent-header.tsx";
import { ErrorGroups } from "./error-groups.tsx";
import { Feedback } from "./feedback.tsx";
import { figuresOf } from "./figures.ts";
import { LatencyHours } from "./latency-hours.tsx";
import { RecentConversations } from "./recent-conversations.tsx";
import { Tools } from "./tools.tsx";
import { UnknownAgent } from "./unknown-agent.tsx";
import { Users } from "./users.tsx";

export function Agent() {
  const { agentId = "" } = useParams({ strict: false });
  const asked = agentQuery(agentId);
  const isUnknown = isRefusal(useQueryClient().getQueryState(asked.queryKey)?.error);
  useQuery({ ...asked, ...(isUnknown && { meta: { refresh: "slow" } }) });
  // Another agent is another page: nothing of this one stays.
  return isUnknown ? <UnknownAgent agentId={agentId} /> : <KnownAgent key={agentId} agentId={agentId} />;
}

/** Never seen, or a name that no agent can have. */
function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 404 || error.status === 422);
}

function KnownAgent({ agentId }: { agentId: string }) {
  const { range } = useCommon();
  const agents = useMemo(() => [agentId], [agentId]);
  const figures = useMemo(() => figuresOf(agentId), [agentId]);
  const series = useQuery(seriesQuery(agents, range));
  return (
    <div className="flex flex-col gap-3">
      <AgentHeader agentId={agentId} />
      <KpiCards
        agents={agents}
        figures={figures}
        points={series.data?.items}
        className="grid grid-cols-2 gap-2 sm:grid-cols-3 sm:gap-3 lg:grid-cols-4 xl:grid-cols-6"
      />
      <div className="grid gap-3 xl:grid-cols-2">
        <TrafficPanel agents={agents} series={series} />
        <ResponseTimesPanel agents={agents} series={series} />
      </div>
      <LatencyHours agentId={agentId} />
      <div className="grid gap-3 xl:grid-cols-3">
        <ErrorGroups agentId={agentId} className="xl:col-span-2" />
        <RecentConversations agentId={agentId} />
      </div>
      <div className="grid gap-3 xl:grid-cols-2">
        <ModelsPanel agents={agents} />
        <Tools agentId={agentId} />
        <Users agentId={agentId} />
        <Feedback agentId={agentId} series={series} />
      </div>
    </div>
  );
}
