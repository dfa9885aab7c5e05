/** Conversations, newest first. */
import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { ArrowUp } from "lucide-react";
import { type ReactNode, type RefObject, useMemo, useRef, useState } from "react";
import type { Conversation } from "@/api/generated.ts";
import { conversationsQuery } from "@/api/queries.ts";
import { CONVERSATION_STATUSES, conversationStatusLabel } from "@/components/conversation-status.tsx";
import { NoData } from "@/components/no-data.tsx";
import { Panel } from "@/components/panel.tsx";
import { Button } from "@/components/ui/button.tsx";
import { useChangeSearch, useCommon } from "@/lib/common.ts";
import type { Table } from "@/lib/csv.ts";
import { formatInteger } from "@/lib/format.ts";
import { rangeKey } from "@/lib/range.ts";
import { useMedia } from "@/lib/use-media.ts";
import { useCalmRows } from "./calm-order.ts";
import { ConversationRows, conversationKey } from "./conversation-rows.tsx";
import { coverageOf, LIMITS } from "./coverage.ts";

const NONE: readonly Conversation[] = [];

export function Conversations() {
  const { agents, range, zone } = useCommon();
  const { status } = useSearch({ strict: false }) as { status?: string };
  const change = useChangeSearch();
  const isNarrow = useMedia("(max-width: 767px)");
  const [limit, setLimit] = useState<number>(LIMITS[0]);
  const area = useRef<HTMLElement>(null);

  // The API lists one agent's conversations or everybody's; of several agents they are looked for among everybody's.
  const one = agents.length === 1 ? agents[0] : undefined;
  const isSome = agents.length > 1;
  const query = useQuery({
    ...conversationsQuery(one, range, limit, status),
    // A longer list of the same begins with the one that is there.
    placeholderData: (before, from) => (isSameBut(from?.queryKey, one, status, rangeKey(range)) ? before : undefined),
  });
  const items = query.data?.items;
  const wanted = useMemo(
    () => (isSome ? items?.filter((c) => agents.includes(c.agent_id)) : items) ?? NONE,
    [items, isSome, agents],
  );
  const question = [one ?? agents.join(), rangeKey(range), status, query.isPlaceholderData ? "loading" : limit].join(" ");
  const { rows, waiting, letIn, onPointerMove } = useCalmRows(wanted, conversationKey, question, area);

  const more = LIMITS.find((each) => each > limit);

  const showNewest = () => {
    letIn();
    area.current?.scrollTo({ top: 0 });
  };
  return (
    <div className="flex flex-col gap-3">
      <h1 className="sr-only">Conversations</h1>
      <StatusChips status={status} onPick={(next) => change({ status: next })} />
      <Panel
        title="Conversations"
        note={
          query.data && wanted.length > 0 && !isNarrow
            ? `newest first${query.data.has_more ? "" : `, ${formatInteger(wanted.length)} in all`}`
            : undefined
        }
        query={query}
        height="h-[calc(100dvh-15rem)] min-h-96 lg:h-[calc(100dvh-10.5rem)]"
        isTable
        isEmpty={() => wanted.length === 0}
        empty={
          <Empty
            status={status}
            hasMore={query.data?.has_more ?? false}
            agents={isSome ? agents.length : 0}
            onClear={() => change({ status: undefined })}
          />
        }
        table={() => tableOf(wanted)}
        actions={
          waiting > 0 && (
            <Button size="small" onClick={showNewest}>
              <ArrowUp aria-hidden /> {waiting} newer
            </Button>
          )
        }
      >
        {(data) => (
          <>
            <Scrolled area={area} onPointerMove={onPointerMove}>
              <ConversationRows rows={rows} area={area} isNarrow={isNarrow} />
            </Scrolled>
            <p className="flex flex-wrap items-center gap-2 border-t pt-2 text-muted-foreground text-xs">
              {coverageOf({
                answer: data,
                shown: wanted.length,
                agents: isSome ? agents.length : 0,
                isFiltered: status !== undefined,
                zone,
              })}
              {data.has_more && more !== undefined && (
                <Button size="small" disabled={query.isPlaceholderData} onClick={() => setLimit(more)}>
                  {query.isPlaceholderData ? "Loading" : `${isSome ? "Look among" : "Show"} ${formatInteger(more)}`}
                </Button>
              )}
            </p>
          </>
        )}
      </Panel>
    </div>
  );
}

/** Whether a question differs in its limit at most. */
function isSameBut(
  key: readonly unknown[] | undefined,
  agentId: string | undefined,
  status: string | undefined,
  range: string,
): boolean {
  const [, question, of] = (key ?? []) as [unknown, { agent_id?: string; status?: string }?, string?];
  return question !== undefined && question.agent_id === agentId && question.status === status && of === range;
}

interface ScrolledProps {
  area: RefObject<HTMLElement | null>;
  onPointerMove: () => void;
  children: ReactNode;
}

function Scrolled({ area, onPointerMove, children }: ScrolledProps) {
  return (
    <section
      ref={area}
      aria-label="Conversations, newest first"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
      tabIndex={0}
      onPointerMove={onPointerMove}
      className="min-h-0 flex-1 overflow-auto"
    >
      {children}
    </section>
  );
}

function StatusChips({ status, onPick }: { status: string | undefined; onPick: (status: string | undefined) => void }) {
  const chosen = status?.split(",") ?? [];
  const chip = (value: string | undefined, label: string) => (
    <Button
      key={label}
      size="small"
      aria-pressed={value === undefined ? chosen.length === 0 : chosen.includes(value)}
      onClick={() => onPick(value)}
    >
      {label}
    </Button>
  );
  return (
    <fieldset className="flex flex-wrap gap-1.5">
      <legend className="sr-only">Status</legend>
      {chip(undefined, "All")}
      {CONVERSATION_STATUSES.map((each) => chip(each, conversationStatusLabel(each)))}
    </fieldset>
  );
}

function Empty({
  status,
  hasMore,
  agents,
  onClear,
}: {
  status: string | undefined;
  hasMore: boolean;
  agents: number;
  onClear: () => void;
}) {
  if (status) {
    return (
      <>
        <p>No conversation here has the status {status.replaceAll(",", " or ")}.</p>
        <Button size="small" onClick={onClear}>
          Show all
        </Button>
      </>
    );
  }
  if (agents > 0 && hasMore)
    return (
      <p>None of the {agents} agents chosen is among the newest conversations. Choose a single one to see all of its own.</p>
    );
  return <NoData />;
}

function tableOf(rows: readonly Conversation[]): Table {
  return {
    columns: [
      "Conversation",
      "Title",
      "Agent",
      "Status",
      "Started (UTC)",
      "Last event (UTC)",
      "Duration (s)",
      "Events",
      "Messages",
      "Errors",
      "Tool calls",
      "Tokens",
      "Cost ($)",
      "Models",
    ],
    rows: rows.map((c) => [
      c.id,
      c.title,
      c.agent_id,
      c.status,
      c.startedAt,
      c.lastEventAt,
      c.duration,
      c.messageCount,
      c.userMessages,
      c.errorCount,
      c.toolCalls,
      c.tokens,
      c.costUsd,
      c.models.join(" "),
    ]),
  };
}
