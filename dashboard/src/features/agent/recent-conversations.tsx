import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { Conversation } from "@/api/generated.ts";
import { conversationsQuery } from "@/api/queries.ts";
import { ConversationStatus } from "@/components/conversation-status.tsx";
import { NoData } from "@/components/no-data.tsx";
import { Panel } from "@/components/panel.tsx";
import { Ago } from "@/components/value.tsx";
import { useCommon } from "@/lib/common.ts";
import { formatDuration, formatInteger, formatNumber } from "@/lib/format.ts";

const ROWS = 10;

export function RecentConversations({ agentId }: { agentId: string }) {
  const { range } = useCommon();
  const query = useQuery(conversationsQuery(agentId, range, ROWS));
  return (
    <Panel
      title="Recent conversations"
      query={query}
      height="h-80"
      isTable
      isEmpty={(data) => data.items.length === 0}
      empty={<NoData agents={[agentId]} what="conversations" />}
      table={(data) => ({
        columns: ["Conversation", "Title", "Status", "Started (UTC)", "Duration (s)", "Events", "Errors", "Tokens", "Cost ($)"],
        rows: data.items.map((c) => [
          c.id,
          c.title ?? "",
          c.status,
          c.startedAt,
          c.duration,
          c.messageCount,
          c.errorCount,
          c.tokens,
          c.costUsd,
        ]),
      })}
      actions={
        <Link to="/conversations" search={{ agents: [agentId] } as never} className="link px-1 text-xs">
          All
        </Link>
      }
    >
      {(data) => (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <ol aria-label="Recent conversations" tabIndex={0} className="min-h-0 flex-1 divide-y overflow-y-auto">
          {data.items.map((each) => (
            <li key={each.id}>
              <Row conversation={each} />
            </li>
          ))}
        </ol>
      )}
    </Panel>
  );
}

function Row({ conversation }: { conversation: Conversation }) {
  const { id, agent_id, title, status, messageCount, errorCount, duration, costUsd, lastEventAt } = conversation;
  const facts = [
    counted(messageCount, "event"),
    errorCount > 0 && counted(errorCount, "error"),
    formatDuration(duration),
    costUsd !== null && formatNumber(costUsd, "usd"),
  ];
  return (
    <Link
      to="/conversations/$conversationId"
      params={{ conversationId: id }}
      search={{ agent: agent_id } as never}
      className="block py-1.5 hover:bg-muted/60"
    >
      <span className="flex items-baseline justify-between gap-2">
        <span className="truncate font-medium">{title ?? id}</span>
        <Ago time={lastEventAt} className="text-muted-foreground text-xs" />
      </span>
      <span className="flex items-center justify-between gap-2 text-muted-foreground text-xs">
        <span className="truncate">{facts.filter(Boolean).join(" · ")}</span>
        <ConversationStatus status={status} />
      </span>
    </Link>
  );
}

function counted(count: number, what: string): string {
  return `${formatInteger(count)} ${what}${count === 1 ? "" : "s"}`;
}
