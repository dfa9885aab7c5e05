import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { SearchX } from "lucide-react";
import { agentsQuery } from "@/api/queries.ts";
import { StatusDot } from "@/components/status.tsx";
import { searchesFor } from "./similar.ts";

/** Names to offer at most. */
const OFFERED = 5;

/** Nobody of this name has posted anything: perhaps it is spelt otherwise. */
export function UnknownAgent({ agentId }: { agentId: string }) {
  return (
    <div className="flex flex-col items-center gap-3 px-4 py-20 text-center">
      <SearchX aria-hidden className="size-6 text-muted-foreground" />
      <h1 className="wrap-anywhere max-w-prose text-balance font-semibold text-base">
        No agent called {agentId} has posted anything
      </h1>
      <p className="text-muted-foreground">An agent appears here with its first event.</p>
      <Similar searches={searchesFor(agentId)} />
      <Link to="/agents" className="link">
        All agents
      </Link>
    </div>
  );
}

/** What the first of the searches finds that finds anything. */
function Similar({ searches }: { searches: readonly string[] }) {
  const [q, ...rest] = searches;
  const found = useInfiniteQuery({ ...agentsQuery({ q, sort: "-last_seen", limit: OFFERED }), enabled: q !== undefined });
  const items = found.data?.pages[0]?.items;
  if (q === undefined || !items) return null;
  if (items.length === 0) return <Similar searches={rest} />;
  return (
    <section aria-label="Similar names">
      <h2 className="text-muted-foreground text-xs">Perhaps one of these</h2>
      <ul className="mt-1 space-y-1">
        {items.map((agent) => (
          <li key={agent.agent_id}>
            <Link
              to="/agents/$agentId"
              params={{ agentId: agent.agent_id }}
              className="link wrap-anywhere inline-flex items-center gap-1.5 py-0.5 font-medium"
            >
              <StatusDot status={agent.status} />
              {agent.agent_id}
            </Link>
          </li>
        ))}
      </ul>
    </section>
  );
}
