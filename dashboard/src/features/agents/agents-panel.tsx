import { RotateCw } from "lucide-react";
import { agentsTable } from "@/components/agent-columns.ts";
import { Panel } from "@/components/panel.tsx";
import { statusLabel } from "@/components/status.tsx";
import { Button } from "@/components/ui/button.tsx";
import { useChangeSearch, useCommon } from "@/lib/common.ts";
import { daysText } from "@/lib/days.ts";
import { formatInteger, formatTime } from "@/lib/format.ts";
import { rangeSearch } from "@/lib/search.ts";
import { AgentRows } from "./agent-rows.tsx";
import type { AgentsFilter } from "./chosen.ts";
import type { AgentsList, FoundList } from "./use-agents.ts";

interface AgentsPanelProps extends FoundList {
  filter: AgentsFilter;
  /** Takes search and status away. */
  onClear: () => void;
}

export function AgentsPanel({ query, of, onMore, isStill, filter, onClear }: AgentsPanelProps) {
  const { agents, zone } = useCommon();
  const change = useChangeSearch();
  const isChosen = agents.length > 0;
  const { data } = query;
  return (
    <Panel
      title={isChosen ? "Chosen agents" : "Agents"}
      note={data && !data.isTooOld && noteOf(data, of)}
      query={query}
      height="h-[max(22rem,calc(100dvh-21rem))] sm:h-[max(22rem,calc(100dvh-13.5rem))] lg:h-[max(22rem,calc(100dvh-10rem))]"
      isTable
      isEmpty={(list) => list.total === 0}
      empty={data?.isTooOld ? <TooOld /> : <Nothing filter={filter} isChosen={isChosen} onClear={onClear} />}
      table={(list) => agentsTable(list.items)}
      actions={
        <>
          {isStill && (
            <Button variant="ghost" size="small" disabled={query.isFetching} onClick={() => query.refetch()}>
              <RotateCw /> As of {formatTime(query.dataUpdatedAt, zone, "clock-second")}
            </Button>
          )}
          {isChosen && (
            <Button size="small" onClick={() => change({ agents: undefined })}>
              Show all agents
            </Button>
          )}
        </>
      }
    >
      {(list) => (
        <AgentRows items={list.items} total={list.total} filter={filter} isOld={query.isPlaceholderData} onMore={onMore} />
      )}
    </Panel>
  );
}

/** `37 of 10,000 agents, 400 loaded · 25 – 26 Nov (UTC)`. */
function noteOf({ items, total, firstDay, lastDay }: AgentsList, of: number | undefined): string {
  const all = of === undefined || of <= total ? "" : ` of ${formatInteger(of)}`;
  const loaded = items.length < total ? `, ${formatInteger(items.length)} loaded` : "";
  const days = firstDay ? ` · ${daysText(firstDay, lastDay)}` : "";
  return `${formatInteger(total)}${all} agents${loaded}${days}`;
}

function Nothing({ filter, isChosen, onClear }: { filter: AgentsFilter; isChosen: boolean; onClear: () => void }) {
  const { q, statuses } = filter;
  if (q === "" && statuses.length === 0) {
    return <p>{isChosen ? "None of the chosen agents has posted anything." : "No agent has posted anything yet."}</p>;
  }
  const status = statuses.length > 0 ? ` ${statuses.map((each) => statusLabel(each).toLowerCase()).join(" or ")}` : "";
  return (
    <>
      <p className="wrap-anywhere">{q === "" ? `No agent is${status}.` : `No${status} agent’s name contains “${q}”.`}</p>
      <Button size="small" onClick={onClear}>
        Clear the filter
      </Button>
    </>
  );
}

/** The numbers of agents side by side are held for some weeks only. */
function TooOld() {
  const change = useChangeSearch();
  return (
    <>
      <p className="max-w-prose text-balance">
        Agents can be compared side by side over the last weeks only (LIVE_DAYS of the server). Older numbers are on each agent’s
        own page.
      </p>
      <Button size="small" onClick={() => change(rangeSearch({ preset: "30d" }))}>
        Last 30 days
      </Button>
    </>
  );
}
