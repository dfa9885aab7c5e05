import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { AgentSummary } from "@/api/generated.ts";
import { agentsQuery } from "@/api/queries.ts";
import { PanelError, StaleMark } from "@/components/panel.tsx";
import { STATUSES, Status, StatusDot, statusLabel } from "@/components/status.tsx";
import { Skeleton } from "@/components/ui/skeleton.tsx";
import { formatInteger } from "@/lib/format.ts";
import { firstPage } from "@/lib/pages.ts";

/** Agents named here at most. */
const NAMED = 4;

/** How many agents are well, and which are not, with the rule that says so. The first thing to read. */
export function Attention() {
  const troubled = useInfiniteQuery(agentsQuery({ status: "failing,degraded", sort: "-error_rate", limit: NAMED }));
  const page = troubled.data?.pages[0];
  if (!page && troubled.isError) return <PanelError error={troubled.error} onRetry={() => troubled.refetch()} />;
  if (!page) return <Skeleton className="h-6 w-80" />;
  const counts = page.status_counts;
  const more = counts.failing + counts.degraded - page.items.length;
  return (
    <section aria-label="How the agents are" className="flex min-h-6 flex-wrap items-center gap-x-5 gap-y-1.5">
      <StaleMark query={firstPage(troubled)} />
      <ul className="flex flex-wrap items-center gap-x-3 gap-y-1">
        {STATUSES.map((status) => (
          <li key={status}>
            <Link
              to="/agents"
              search={(old) => ({ ...old, status })}
              className="flex min-h-6 items-center gap-1.5 hover:underline"
            >
              <StatusDot status={status} />
              <span className="font-semibold">{formatInteger(counts[status])}</span>
              <span className="text-muted-foreground">{statusLabel(status).toLowerCase()}</span>
            </Link>
          </li>
        ))}
      </ul>
      {page.items.length > 0 && (
        <ul className="flex min-w-0 flex-wrap items-center gap-x-4 gap-y-1">
          {page.items.map((agent) => (
            <Troubled key={agent.agent_id} agent={agent} />
          ))}
          {more > 0 && (
            <li>
              <Link to="/agents" search={(old) => ({ ...old, status: "failing,degraded" })} className="link">
                {more} more
              </Link>
            </li>
          )}
        </ul>
      )}
    </section>
  );
}

function Troubled({ agent }: { agent: AgentSummary }) {
  return (
    <li className="flex min-w-0 max-w-full items-center gap-1.5">
      <Status status={agent.status} />
      <Link to="/agents/$agentId" params={{ agentId: agent.agent_id }} className="link truncate font-medium">
        {agent.agent_id}
      </Link>
      <span className="truncate text-muted-foreground text-xs">{agent.status_rule}</span>
    </li>
  );
}
