import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { summaryQuery } from "@/api/queries.ts";
import { BarList } from "@/components/bar-list.tsx";
import { Panel } from "@/components/panel.tsx";
import { useCommon } from "@/lib/common.ts";
import { filterTerm } from "@/lib/filter-term.ts";

/** Which tools it calls, and how long they take; a click shows the calls. */
export function Tools({ agentId }: { agentId: string }) {
  const { range } = useCommon();
  const summary = useQuery(summaryQuery([agentId], range));
  const navigate = useNavigate();
  const pick = (tool: string) =>
    void navigate({ to: "/events", search: { agents: [agentId], filter: filterTerm("tool", tool) } as never });
  return (
    <Panel
      title="Tools"
      query={summary}
      height="h-64"
      isTable
      isEmpty={(data) => data.metrics.tools.length === 0}
      empty="It called no tools in this range."
      table={(data) => ({
        columns: ["Tool", "Calls", "Time in all (ms)"],
        rows: data.metrics.tools.map((t) => [t.tool, t.calls, t.response_time_ms]),
      })}
    >
      {(data) => (
        <BarList
          label="Tools by calls"
          nameTitle="Tool"
          columns={[
            { title: "Calls", unit: "count" },
            { title: "Time in all", unit: "ms" },
          ]}
          rows={data.metrics.tools.map((t) => ({ name: t.tool, values: [t.calls, t.response_time_ms] }))}
          onPick={pick}
        />
      )}
    </Panel>
  );
}
