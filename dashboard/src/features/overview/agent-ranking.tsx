import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { agentsQuery } from "@/api/queries.ts";
import { agentsTable } from "@/components/agent-columns.ts";
import { AgentTable } from "@/components/agent-table.tsx";
import { Panel } from "@/components/panel.tsx";
import { useChangeSearch, useCommon } from "@/lib/common.ts";
import { daysText } from "@/lib/days.ts";
import { firstPage } from "@/lib/pages.ts";

const ROWS = 25;

/** The agents with most of whatever the viewer sorts by, over the UTC days that the range touches. */
export function AgentRanking({ className }: { className?: string }) {
  const { range } = useCommon();
  const { sort = "-total_messages" } = useSearch({ strict: false }) as { sort?: string };
  const change = useChangeSearch();
  const query = firstPage(useInfiniteQuery(agentsQuery({ sort, limit: ROWS, range })));
  return (
    <Panel
      title="Agents"
      note={query.data && daysText(query.data.first_day, query.data.last_day)}
      query={query}
      height="h-96"
      isTable
      className={className}
      table={(page) => agentsTable(page.items)}
      actions={
        <Link to="/agents" className="link px-1 text-xs">
          {query.data ? `All ${query.data.total}` : "All"}
        </Link>
      }
    >
      {(page) => (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <section aria-label="Agents ranked" tabIndex={0} className="min-h-0 flex-1 overflow-auto">
          <AgentTable
            agents={page.items}
            sort={sort}
            onSort={(next) => change({ sort: next })}
            onScope={(agentId) => change({ agents: [agentId] })}
          />
        </section>
      )}
    </Panel>
  );
}
