/** The figures of one agent, each leading to this agent's events behind it. */
import type { KpiCardProps } from "@/components/kpi-card.tsx";
import type { Figure } from "@/components/kpi-cards.tsx";

export function figuresOf(agentId: string): Figure[] {
  const agents = [agentId];
  const events = (filter: string) => ({ to: "/events", search: { agents, filter } }) as KpiCardProps["link"];
  const errors = { to: "/errors", search: { agents } } as KpiCardProps["link"];
  return [
    { id: "total_messages", title: "Messages", trend: (p) => p.messages, link: events("type:user_message") },
    { id: "responses", title: "Responses", trend: (p) => p.responses, link: events("type:agent_response") },
    { id: "errors", title: "Errors", trend: (p) => p.errors, link: errors },
    { id: "error_rate", title: "Error rate", trend: (p) => (p.messages > 0 ? p.error_rate : null), link: errors },
    {
      id: "p95_response_time",
      title: "p95 latency",
      trend: (p) => p.p95_response_time_ms ?? p.average_response_time_ms,
      link: (value) => events(`ms>${Math.floor(value)}`),
    },
    { id: "uptime", title: "Uptime", link: errors },
    { id: "tokens", title: "Tokens", trend: (p) => p.tokens, link: events("type:agent_response") },
    { id: "cost", title: "Cost", trend: (p) => p.cost_usd, link: events("type:agent_response") },
    { id: "unique_users", title: "Users", trend: (p) => p.visitors, link: events("type:user_message") },
    { id: "returning_users", title: "Returning users", link: events("type:user_message") },
    { id: "messages_per_user", title: "Messages per user", link: events("type:user_message") },
    { id: "feedback", title: "Feedback", trend: (p) => p.average_feedback_score, link: events("type:feedback") },
  ];
}
