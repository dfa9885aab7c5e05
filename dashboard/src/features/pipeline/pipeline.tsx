/** How far each stage is behind the one before, and where a given event is. */
import { useQuery } from "@tanstack/react-query";
import { ArrowRight, CircleCheck } from "lucide-react";
import { Fragment, type ReactNode } from "react";
import type { PipelineAnswer } from "@/api/generated.ts";
import { pipelineQuery, readinessQuery } from "@/api/queries.ts";
import { BarList } from "@/components/bar-list.tsx";
import { DataTable } from "@/components/data-table.tsx";
import { Notice } from "@/components/notice.tsx";
import { Panel } from "@/components/panel.tsx";
import { Badge } from "@/components/ui/badge.tsx";
import { Ago, Value } from "@/components/value.tsx";
import type { Table } from "@/lib/csv.ts";
import { formatInteger, formatNumber } from "@/lib/format.ts";
import { DeadLetters } from "./dead-letters.tsx";
import { FindEvent } from "./find-event.tsx";
import { ReconciliationPanel } from "./reconciliation.tsx";

export function Pipeline() {
  const pipeline = useQuery(pipelineQuery());
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Pipeline health</h1>
      {pipeline.data && <Stops data={pipeline.data} />}
      <Panel title="From accepted to shown" query={pipeline} height="min-h-32">
        {(data) => <Stages data={data} />}
      </Panel>
      <div className="grid gap-3 xl:grid-cols-2">
        <FindEvent />
        <ReconciliationPanel />
      </div>
      <div className="grid gap-3 xl:grid-cols-2">
        <Panel title="Partitions of the log" query={pipeline} height="h-64" isTable table={partitionsTable}>
          {(data) => <DataTable label="Partitions of the log" table={partitionsTable(data)} />}
        </Panel>
        <Panel
          title="Dead letters by reason"
          note="accepted, then refused"
          query={pipeline}
          height="h-64"
          isTable
          isEmpty={(data) => data.dead_letters.total === 0}
          empty="None: every accepted event could be counted."
          table={(data) => ({ columns: ["Reason", "Events"], rows: data.dead_letters.by_reason.map((r) => [r.reason, r.count]) })}
        >
          {(data) => (
            <BarList
              label="Reasons of dead letters"
              nameTitle="Reason"
              columns={[{ title: "Events", unit: "count" }]}
              rows={data.dead_letters.by_reason.map((r) => ({ name: r.reason, values: [r.count] }))}
            />
          )}
        </Panel>
      </div>
      <DeadLetters />
      <Readiness />
    </div>
  );
}

/** Partitions that count no more, and what to do about it. */
function Stops({ data }: { data: PipelineAnswer }) {
  return data.partitions.map(
    ({ partition, stopped }) =>
      stopped && (
        <Notice key={partition} tone="warn">
          Partition {partition} stopped <Ago time={stopped.at} />, before offset {stopped.offset}:{" "}
          {formatInteger(stopped.dead_letters)} records died within a minute ({stopped.reason}), more than half of them. What is
          not counted stays in the log. Look at the dead letters below; mend what was wrong and restart the aggregator, or restart
          it with <code className="font-mono">DEAD_LETTER_LIMIT=0</code> to bury them all.
        </Notice>
      ),
  );
}

function partitionsTable(data: PipelineAnswer): Table {
  return {
    columns: ["Partition", "Oldest offset", "Next offset", "Counted up to", "Waiting"],
    rows: data.partitions.map((p) => [String(p.partition), p.start, p.end, p.committed, p.lag_records]),
  };
}

interface Stage {
  title: string;
  value: ReactNode;
  notes: ReactNode[];
}

function Stages({ data }: { data: PipelineAnswer }) {
  const { dead_letters: dead, live_table: table, today, write_units: units } = data;
  const stages: Stage[] = [
    { title: "Accepted", value: <Value value={data.accepted} />, notes: ["events that the log has taken, all told"] },
    {
      title: "Stored and counted",
      value: <Value value={data.counted} />,
      notes: [
        data.lag_records === 0 ? (
          <Badge key="lag" tone="ok">
            nothing waits
          </Badge>
        ) : (
          <Badge key="lag" tone={data.lag_ms > 60_000 ? "bad" : data.lag_ms > 5_000 ? "warn" : "neutral"}>
            {formatInteger(data.lag_records)} wait, oldest {formatNumber(data.lag_ms, "ms")}
          </Badge>
        ),
        <Fragment key="dup">
          <Value value={today.duplicates_skipped} /> repeats skipped today
        </Fragment>,
        <Fragment key="dead">
          <Value value={dead.total} /> dead letters
          {dead.redriven > 0 && <>, {formatInteger(dead.redriven)} redriven</>}
        </Fragment>,
      ],
    },
    {
      title: "Shown",
      value: <Value value={data.freshness_ms} unit="ms" />,
      notes: [
        "age of the newest total that is not shown yet",
        table.trouble ? (
          <Badge key="trouble" tone="bad">
            {table.trouble}
          </Badge>
        ) : table.is_caught_up ? (
          `${formatInteger(table.rows)} rows, ${data.streams} open streams`
        ) : (
          <Badge key="behind" tone="warn">
            still reading totals
          </Badge>
        ),
      ],
    },
    {
      title: "Cost of storing",
      value: units?.dollars_per_million_events != null ? <Value value={units.dollars_per_million_events} unit="usd" /> : "–",
      notes: [
        "DynamoDB on demand, per million events",
        units?.per_1000_events != null ? (
          <Fragment key="units">
            <Value value={units.per_1000_events} /> write units per 1,000 events
          </Fragment>
        ) : (
          "not known yet"
        ),
      ],
    },
  ];
  return (
    <ol className="grid gap-3 sm:grid-cols-2 xl:grid-cols-4">
      {stages.map((stage, i) => (
        <li key={stage.title} className="flex gap-3">
          {i > 0 && i < 3 && <ArrowRight aria-hidden className="mt-6 hidden size-4 shrink-0 text-muted-foreground xl:block" />}
          <div className="min-w-0">
            <h3 className="text-muted-foreground text-xs">{stage.title}</h3>
            <p className="font-semibold text-figure">{stage.value}</p>
            {stage.notes.map((note, j) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: notes have no identity but their place
              <p key={j} className="text-muted-foreground text-xs">
                {note}
              </p>
            ))}
          </div>
        </li>
      ))}
    </ol>
  );
}

/** What the query API itself says is not ready. */
function Readiness() {
  const ready = useQuery(readinessQuery());
  return (
    <Panel
      title="Query API"
      query={ready}
      height="min-h-40"
      isEmpty={(data) => !data.not_ready?.length}
      empty={
        <Badge tone="ok">
          <CircleCheck aria-hidden /> everything it needs is ready
        </Badge>
      }
    >
      {(data) => (
        <ul className="divide-y">
          {data.not_ready?.map(({ component, reason }) => (
            <li key={component} className="py-1.5">
              <Badge tone="bad">{component}</Badge> <span className="text-muted-foreground">{reason}</span>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
