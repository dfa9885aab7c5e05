import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { summaryQuery } from "@/api/queries.ts";
import { BarList } from "@/components/bar-list.tsx";
import { NoData } from "@/components/no-data.tsx";
import { Panel } from "@/components/panel.tsx";
import { useCommon } from "@/lib/common.ts";
import { filterTerm } from "@/lib/filter-term.ts";

/** Calls, tokens and cost of each model; a click shows its events. Of all agents where none is named. */
export function ModelsPanel({ agents }: { agents: readonly string[] }) {
  const { range } = useCommon();
  const summary = useQuery(summaryQuery(agents, range));
  const navigate = useNavigate();
  const pick = (model: string) =>
    void navigate({
      to: "/events",
      search: { filter: filterTerm("model", model), agents: agents.length > 0 ? agents : undefined } as never,
    });
  return (
    <Panel
      title="Models"
      query={summary}
      height="h-64"
      isTable
      isEmpty={(data) => data.metrics.models.length === 0}
      empty={<NoData agents={agents} what="models" />}
      table={(data) => ({
        columns: ["Model", "Calls", "Tokens", "Cost ($)"],
        rows: data.metrics.models.map((m) => [m.model, m.calls, m.tokens, m.cost_usd]),
      })}
    >
      {(data) => (
        <BarList
          label="Models by calls"
          nameTitle="Model"
          columns={[
            { title: "Calls", unit: "count" },
            { title: "Tokens", unit: "count" },
            { title: "Cost", unit: "usd" },
          ]}
          rows={data.metrics.models.map((m) => ({ name: m.model, values: [m.calls, m.tokens, m.cost_usd] }))}
          onPick={pick}
        />
      )}
    </Panel>
  );
}
