/** What goes wrong: errors by type and message, over time and by agent. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { CircleCheck } from "lucide-react";
import { useMemo, useState } from "react";
import type { ErrorsAnswer } from "@/api/generated.ts";
import { errorsQuery, seriesQuery } from "@/api/queries.ts";
import { Notice } from "@/components/notice.tsx";
import { Panel } from "@/components/panel.tsx";
import { Button } from "@/components/ui/button.tsx";
import { useChangeSearch, useCommon } from "@/lib/common.ts";
import { formatInteger, formatTime, type Zone } from "@/lib/format.ts";
import { useLive } from "@/lib/live.ts";
import { type Range, rangeKey } from "@/lib/range.ts";
import { useMedia } from "@/lib/use-media.ts";
import { ErrorTrend } from "./error-trend.tsx";
import { GroupDrawer } from "./group-drawer.tsx";
import { GroupFilter } from "./group-filter.tsx";
import { GroupCards, GroupTable } from "./group-rows.tsx";
import { chosen, groupsTable, typesOf } from "./groups.ts";

/** Groups asked for at first and at most: each comes with an example. */
const FIRST_LIMIT = 100;
const MOST = 300;
/** How often more errors than can all be read are grouped again, ms. */
const MUCH_MS = 30_000;

interface ErrorsSearch {
  type?: string;
  group?: string;
  q?: string;
  sort?: string;
}

export function Errors() {
  const { agents, range, zone } = useCommon();
  const { type, group: openId, q = "", sort = "-count" } = useSearch({ strict: false }) as ErrorsSearch;
  const change = useChangeSearch();
  const isNarrow = useMedia("(max-width: 767px)");
  const [limit, setLimit] = useState(FIRST_LIMIT);
  const options = errorsQuery(agents, range, limit);
  // Grouping the most errors that the server takes is much work, so it is not asked at every change.
  const isMuch = useQueryClient().getQueryData(options.queryKey)?.is_complete === false;
  const isPaused = useLive().mode === "paused";
  const query = useQuery({
    ...options,
    meta: isMuch ? {} : options.meta,
    refetchInterval: isMuch && !isPaused && options.meta?.refresh ? MUCH_MS : false,
    // More groups of the same begin with those that are there.
    placeholderData: (before, from) => (isOf(from?.queryKey, agents, range) ? before : undefined),
  });
  const { data } = query;
  const types = useMemo(() => typesOf(data?.items ?? []), [data]);
  const groups = useMemo(() => chosen(data?.items ?? [], { type, text: q, sort }), [data, type, q, sort]);
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Errors</h1>
      <ErrorTrend />
      <Panel
        title="By type and message"
        note={data && data.total > 0 && `${formatInteger(data.total)} errors in ${counted(data.groups, "group")}`}
        query={query}
        height="min-h-80"
        isTable
        isEmpty={(answer) => answer.items.length === 0}
        empty={<NoErrors />}
        table={() => groupsTable(groups)}
      >
        {(answer) => (
          <>
            <GroupFilter
              types={types}
              total={answer.total}
              type={type}
              onType={(next) => change({ type: next })}
              text={q}
              onText={(next) => change({ q: next || undefined }, { replace: true })}
            />
            <Incomplete answer={answer} zone={zone} />
            {groups.length === 0 ? (
              <div className="flex flex-1 flex-col items-center justify-center gap-2 text-muted-foreground">
                <p>No group matches{answer.groups > answer.items.length && " among those that are loaded"}.</p>
                <Button size="small" onClick={() => change({ q: undefined, type: undefined })}>
                  Show all
                </Button>
              </div>
            ) : isNarrow ? (
              <GroupCards answer={answer} groups={groups} openId={openId} zone={zone} />
            ) : (
              <GroupTable
                answer={answer}
                groups={groups}
                openId={openId}
                sort={sort}
                onSort={(next) => change({ sort: next })}
                zone={zone}
              />
            )}
            {answer.groups > answer.items.length && (
              <p className="flex flex-wrap items-center gap-2 border-t pt-2 text-muted-foreground text-xs">
                The {formatInteger(answer.items.length)} largest of {formatInteger(answer.groups)} groups.
                {limit < MOST && (
                  <Button size="small" onClick={() => setLimit(MOST)}>
                    Show {formatInteger(MOST)}
                  </Button>
                )}
              </p>
            )}
          </>
        )}
      </Panel>
      <GroupDrawer
        answer={data}
        groups={groups}
        openId={openId}
        onMove={(id) => change({ group: id }, { replace: true })}
        onClose={() => change({ group: undefined })}
        zone={zone}
      />
    </div>
  );
}

/** Whether a question is about these agents and this range, whatever its limit. */
function isOf(key: readonly unknown[] | undefined, agents: readonly string[], range: Range): boolean {
  const [, ofAgents, ofRange] = (key ?? []) as [unknown, (readonly string[])?, string?];
  return ofRange === rangeKey(range) && ofAgents?.join() === agents.join();
}

/** Good news, unless nothing happened at all. */
function NoErrors() {
  const { agents, range } = useCommon();
  const series = useQuery(seriesQuery(agents, range));
  const hasEvents = series.data?.items.some((item) => item.calls > 0);
  if (hasEvents === false) return <p>No errors in this range, and no other events.</p>;
  return (
    <>
      <CircleCheck aria-hidden className="size-6 text-ok" />
      <p>No errors in this range.</p>
    </>
  );
}

/** Says so where not all errors of the range were read. */
function Incomplete({ answer, zone }: { answer: ErrorsAnswer; zone: Zone }) {
  if (answer.is_complete) return null;
  return (
    <Notice tone="warn" className="mb-2">
      Only the newest {formatInteger(answer.total)} errors were grouped
      {answer.complete_from && `: what is listed is complete from ${formatTime(answer.complete_from, zone)} on`}. The chart above
      has them all.
    </Notice>
  );
}

function counted(count: number, what: string): string {
  return `${formatInteger(count)} ${what}${count === 1 ? "" : "s"}`;
}
