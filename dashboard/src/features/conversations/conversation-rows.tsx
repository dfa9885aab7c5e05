/** The conversations as a table, or as cards where there is little room. Only what is in sight is drawn. */
import { Link } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import type { KeyboardEvent, RefObject } from "react";
import type { Conversation } from "@/api/generated.ts";
import { ConversationStatus } from "@/components/conversation-status.tsx";
import { Ago, Value } from "@/components/value.tsx";
import { cn } from "@/lib/cn.ts";
import { formatDuration, formatInteger, formatNumber } from "@/lib/format.ts";
import { ConversationLink } from "./conversation-link.tsx";

const ROW = 34;
const CARD = 96;
const HEAD = 26;

interface RowsProps {
  rows: readonly Conversation[];
  area: RefObject<HTMLElement | null>;
  isNarrow: boolean;
}

export function conversationKey(conversation: Conversation): string {
  return `${conversation.agent_id} ${conversation.id}`;
}

export function ConversationRows({ rows, area, isNarrow }: RowsProps) {
  const height = isNarrow ? CARD : ROW;
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => area.current,
    estimateSize: () => height,
    overscan: 12,
    scrollPaddingStart: isNarrow ? 0 : HEAD,
    getItemKey: (i) => {
      const row = rows[i];
      return row ? conversationKey(row) : i;
    },
  });
  const items = virtual.getVirtualItems();
  const before = items[0]?.start ?? 0;
  const after = virtual.getTotalSize() - (items.at(-1)?.end ?? 0);

  /** The arrow keys go from row to row, those that are not drawn yet too. */
  const onKeyDown = (event: KeyboardEvent) => {
    const at = Number((event.target as HTMLElement).closest<HTMLElement>("[data-row]")?.dataset.row ?? Number.NaN);
    if (Number.isNaN(at)) return;
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (next === undefined || next < 0 || next >= rows.length) return;
    event.preventDefault();
    virtual.scrollToIndex(next);
    const focus = (tries: number) => {
      const link = area.current?.querySelector<HTMLElement>(`[data-row="${next}"]`);
      if (link) link.focus();
      else if (tries > 0) requestAnimationFrame(() => focus(tries - 1));
    };
    focus(5);
  };

  const visible = items.flatMap(({ index }) => {
    const conversation = rows[index];
    return conversation ? [{ index, conversation }] : [];
  });
  if (isNarrow) {
    return (
      <ol onKeyDown={onKeyDown} style={{ paddingTop: before, paddingBottom: after }}>
        {visible.map(({ index, conversation }) => (
          <Card key={conversationKey(conversation)} conversation={conversation} index={index} />
        ))}
      </ol>
    );
  }
  return (
    <table className="w-full table-fixed" aria-rowcount={rows.length + 1} onKeyDown={onKeyDown}>
      <thead className="sticky top-0 z-10 bg-card text-muted-foreground text-xs">
        <tr aria-rowindex={1}>
          <Head title="Conversation" className="text-left" />
          <Head title="Agent" className="w-32 text-left" />
          <Head title="Status" className="w-26 text-left" />
          {COLUMNS.map(({ title, width }) => (
            <Head key={title} title={title} className={cn("text-right", width)} />
          ))}
          <Head title="Models" className="hidden w-36 text-left min-[1400px]:table-cell" />
        </tr>
      </thead>
      <tbody>
        <Spacer height={before} />
        {visible.map(({ index, conversation }) => (
          <Row key={conversationKey(conversation)} conversation={conversation} index={index} />
        ))}
        <Spacer height={after} />
      </tbody>
    </table>
  );
}

const COLUMNS = [
  { title: "Started", width: "w-20" },
  { title: "Duration", width: "w-22 hidden xl:table-cell" },
  { title: "Messages", width: "w-18" },
  { title: "Events", width: "w-15 hidden 2xl:table-cell" },
  { title: "Errors", width: "w-14" },
  { title: "Tools", width: "w-13 hidden xl:table-cell" },
  { title: "Tokens", width: "w-16 hidden xl:table-cell" },
  { title: "Cost", width: "w-20" },
] as const;

function Head({ title, className }: { title: string; className?: string }) {
  return (
    <th scope="col" className={cn("h-6.5 px-1.5 py-1 font-normal first:pl-1", className)}>
      {title}
    </th>
  );
}

/** Stands for the rows that are not drawn. */
function Spacer({ height }: { height: number }) {
  return height > 0 ? (
    <tr aria-hidden>
      <td style={{ height }} />
    </tr>
  ) : null;
}

interface RowProps {
  conversation: Conversation;
  index: number;
}

function Row({ conversation: c, index }: RowProps) {
  return (
    <tr aria-rowindex={index + 2} className="group relative h-[34px] border-t hover:bg-muted/60">
      <th scope="row" className="px-1.5 text-left first:pl-1">
        <ConversationLink conversation={c} index={index} />
      </th>
      <td className="px-1.5">
        <Link
          to="/agents/$agentId"
          params={{ agentId: c.agent_id }}
          className="link relative z-[1] block truncate py-0.5"
          title={c.agent_id}
          preload={false}
        >
          {c.agent_id}
        </Link>
      </td>
      <td className="px-1.5">
        <ConversationStatus status={c.status} />
      </td>
      <td className="px-1.5 text-right text-muted-foreground">
        <Ago time={c.startedAt} className="relative z-[1]" />
      </td>
      <td className="hidden whitespace-nowrap px-1.5 text-right xl:table-cell">{formatDuration(c.duration)}</td>
      <td className="px-1.5 text-right">
        <Count value={c.userMessages} />
      </td>
      <td className="hidden px-1.5 text-right 2xl:table-cell">
        <AtLeast value={c.messageCount} isComplete={c.isComplete} />
      </td>
      <td className={cn("px-1.5 text-right", c.errorCount > 0 && "font-medium text-bad")}>
        <Count value={c.errorCount} />
      </td>
      <td className="hidden px-1.5 text-right xl:table-cell">
        <Count value={c.toolCalls} />
      </td>
      <td className="hidden px-1.5 text-right xl:table-cell">
        <Count value={c.tokens} />
      </td>
      <td className="px-1.5 text-right">
        <Value value={c.costUsd} unit="usd" className="relative z-[1]" />
      </td>
      <td className="hidden truncate px-1.5 text-muted-foreground text-xs min-[1400px]:table-cell" title={c.models?.join(", ")}>
        {c.models?.join(", ")}
      </td>
    </tr>
  );
}

function counted(count: number, what: string): string {
  return `${formatNumber(count)} ${what}${count === 1 ? "" : "s"}`;
}

/** Nothing is to catch the eye where nothing was counted. */
function Count({ value }: { value: number }) {
  return <Value value={value} className={cn(value === 0 && "text-muted-foreground")} />;
}

/** A count that may be larger where not all events were read. */
function AtLeast({ value, isComplete }: { value: number; isComplete: boolean }) {
  if (isComplete) return <Value value={value} />;
  return (
    <span title={`at least ${formatInteger(value)}; not all of its events were read`}>
      {formatNumber(value)}+<span className="sr-only"> or more</span>
    </span>
  );
}

function Card({ conversation: c, index }: RowProps) {
  return (
    <li className="group relative flex h-24 flex-col justify-center gap-1 border-t first:border-t-0">
      <span className="flex items-center gap-2">
        <span className="min-w-0 flex-1">
          <ConversationLink conversation={c} index={index} />
        </span>
        <ConversationStatus status={c.status} />
      </span>
      <span className="flex items-baseline justify-between gap-2 text-muted-foreground text-xs">
        <span className="truncate">{c.agent_id}</span>
        <Ago time={c.startedAt} />
      </span>
      <span className="flex flex-wrap gap-x-3 overflow-hidden text-muted-foreground text-xs">
        <span>{formatDuration(c.duration)}</span>
        <span>{counted(c.userMessages, "message")}</span>
        {c.errorCount > 0 && <span className="font-medium text-bad">{counted(c.errorCount, "error")}</span>}
        {c.tokens > 0 && <span>{counted(c.tokens, "token")}</span>}
        {c.costUsd !== null && <span>{formatNumber(c.costUsd, "usd")}</span>}
      </span>
    </li>
  );
}
