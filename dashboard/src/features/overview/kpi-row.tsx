import type { SeriesPoint } from "@/api/generated.ts";
import type { KpiCardProps } from "@/components/kpi-card.tsx";
import { type Figure, KpiCards } from "@/components/kpi-cards.tsx";
import { useCommon } from "@/lib/common.ts";

const events = (filter: string) => ({ to: "/events", search: { filter } }) as KpiCardProps["link"];

const FIGURES: readonly Figure[] = [
  { id: "total_messages", title: "Messages", trend: (p) => p.messages, link: events("type:user_message") },
  { id: "responses", title: "Responses", trend: (p) => p.responses, link: events("type:agent_response") },
  { id: "error_rate", title: "Error rate", trend: (p) => (p.messages > 0 ? p.error_rate : null), link: { to: "/errors" } },
  {
    id: "p95_response_time",
    title: "p95 latency",
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
  const { agents } = useCommon();
  return (
    <KpiCards
      agents={agents}
      figures={FIGURES}
      points={points}
      className="grid grid-cols-2 gap-2 sm:grid-cols-3 sm:gap-3 lg:grid-cols-5 xl:grid-cols-9 xl:gap-2"
    />
  );
}
