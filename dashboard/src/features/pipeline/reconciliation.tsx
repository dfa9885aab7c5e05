/** What became of the records that the log took today, and whether all that was ever inserted is in the numbers. */
import { useQuery } from "@tanstack/react-query";
import type { Reconciliation } from "@/api/generated.ts";
import { reconciliationQuery } from "@/api/queries.ts";
import { Panel } from "@/components/panel.tsx";
import { Badge } from "@/components/ui/badge.tsx";
import { Value } from "@/components/value.tsx";
import { formatInteger } from "@/lib/format.ts";

export function ReconciliationPanel() {
  const reconciliation = useQuery(reconciliationQuery());
  return (
    <Panel title="Every record accounted for" note="taken by the log today, UTC" query={reconciliation} height="min-h-40">
      {(data) => <Equation data={data} />}
    </Panel>
  );
}

function Equation({ data }: { data: Reconciliation }) {
  const { totals } = data;
  return (
    <div className="flex flex-col gap-3">
      <div className="flex flex-wrap items-end gap-x-3 gap-y-2">
        <Term name="logged" value={data.logged} />
        <Sign text={data.adds_up ? "=" : "≠"} />
        <Term name="inserted" value={data.inserted} />
        <Sign text="+" />
        <Term name="repeats skipped" value={data.duplicates} />
        <Sign text="+" />
        <Term name="dead letters" value={data.dead_letters} />
        {data.adds_up ? <Badge tone="ok">adds up</Badge> : <Badge tone="bad">does not add up</Badge>}
      </div>
      <p className="text-muted-foreground text-xs">
        {data.accepted === null ? (
          "No gateway has told what it accepted today."
        ) : (
          <>
            <Value value={data.accepted} /> of them answered with success by the gateways
            {(data.unacknowledged ?? 0) > 0 && (
              <>; of {formatInteger(data.unacknowledged ?? 0)} the client may not know, so a repeat may come</>
            )}
            .
          </>
        )}
      </p>
      <p className="text-muted-foreground text-xs">
        All days: <Value value={totals.inserted} /> inserted
        {totals.deleted > 0 && (
          <>
            , <Value value={totals.deleted} /> deleted since
          </>
        )}
        , <Value value={totals.rollups} /> in the numbers{" "}
        {totals.agrees === null ? (
          <Badge tone="neutral">
            {totals.is_deleting
              ? "events are being deleted"
              : data.pending > 0
                ? `${formatInteger(data.pending)} on their way`
                : "events are on their way"}
          </Badge>
        ) : totals.agrees ? (
          <Badge tone="ok">{totals.deleted > 0 ? "adds up" : "equal"}</Badge>
        ) : (
          <Badge tone="bad">not equal: run agent-tally verify</Badge>
        )}
      </p>
    </div>
  );
}

function Term({ name, value }: { name: string; value: number }) {
  return (
    <div className="flex flex-col-reverse">
      <p className="text-muted-foreground text-xs">{name}</p>
      <p className="font-semibold text-figure">
        <Value value={value} />
      </p>
    </div>
  );
}

function Sign({ text }: { text: string }) {
  return (
    <div aria-hidden className="pb-4 text-figure text-muted-foreground">
      {text}
    </div>
  );
}
