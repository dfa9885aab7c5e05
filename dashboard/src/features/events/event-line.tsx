/** One event as a row of the table, or on two lines where there is little room. */
import { TriangleAlert } from "lucide-react";
import { memo } from "react";
import { EventTypeBadge } from "@/components/event-type.tsx";
import { cn } from "@/lib/cn.ts";
import { formatExact, formatInteger, formatNumber, formatTime, formatTimeExact, type Unit, type Zone } from "@/lib/format.ts";
import type { Entry, EventRow, Gap } from "./row.ts";

export interface LineProps {
  entry: Entry;
  /** Names the row's element. */
  id: string;
  /** Place in the list, from 0. */
  index: number;
  /** Whether the keyboard is here. */
  isActive: boolean;
  /** Whether its detail is open. */
  isOpen: boolean;
  room: Room;
  zone: Zone;
  /** Asks for everything again, so that what is missing comes. */
  onReload: () => void;
}

/** How much room there is: for two lines in one column, or for columns of this importance and above. */
export type Room = 0 | 1 | 2 | 3;

/** Columns of a table, and how much room each needs to be there. */
const COLUMNS = [
  { title: "Time", width: "w-32 lg:w-[9.25rem]" },
  { title: "Agent", width: "w-36 xl:w-40" },
  { title: "Type", width: "w-[6.75rem]" },
  { title: "Text", width: "" },
  { title: "Model", width: "w-36", from: 3 },
  { title: "Took", width: "w-[4.75rem]", isNumber: true },
  { title: "Tokens", width: "w-16", from: 3, isNumber: true },
  { title: "Cost", width: "w-20", from: 2, isNumber: true },
  { title: "User", width: "w-28", from: 3 },
] as const satisfies { title: string; width: string; from?: Room; isNumber?: boolean }[];

export function columnsOf(room: Room) {
  return COLUMNS.filter((column) => !("from" in column) || column.from <= room);
}

export function Line({ entry, ...props }: LineProps) {
  return entry.kind === "gap" ? <GapLine gap={entry} {...props} /> : <EventLine row={entry} {...props} />;
}

type RestProps = Omit<LineProps, "entry">;

function rowProps({ id, index, isActive, isOpen }: RestProps) {
  return {
    id,
    "data-index": index,
    // The head is row 1.
    "aria-rowindex": index + 2,
    "aria-selected": isOpen,
    className: cn(
      "cursor-pointer hover:bg-muted/60 [&>*]:border-b",
      isOpen && "bg-primary-soft",
      isActive && "outline-2 outline-primary -outline-offset-2",
    ),
  };
}

const EventLine = memo(function EventLine({ row, ...props }: RestProps & { row: EventRow }) {
  const { room, zone } = props;
  if (room === 0) {
    return (
      <tr {...rowProps(props)}>
        <td className="h-[54px] px-3 py-0">
          <span className="flex items-baseline gap-2">
            <When row={row} zone={zone} />
            <span className="min-w-0 flex-1 truncate font-medium">{row.agent}</span>
            <Figure value={row.ms} unit="ms" />
          </span>
          <span className="mt-0.5 flex items-center gap-2">
            <EventTypeBadge type={row.type} />
            <Said row={row} />
          </span>
        </td>
      </tr>
    );
  }
  return (
    <tr {...rowProps(props)}>
      <td className="h-8 truncate pr-2 pl-4">
        <When row={row} zone={zone} hasRoom={room >= 2} />
      </td>
      <th scope="row" className="truncate px-2 text-left font-medium" title={row.agent}>
        {row.agent}
      </th>
      <td className="px-2">
        <EventTypeBadge type={row.type} />
      </td>
      <td className="px-2">
        <Said row={row} />
      </td>
      {room >= 3 && (
        <td className="truncate px-2 text-muted-foreground" title={row.model ?? undefined}>
          {row.model}
        </td>
      )}
      <td className={cn("px-2 text-right", room < 2 && "pr-4")}>
        <Figure value={row.ms} unit="ms" />
      </td>
      {room >= 3 && (
        <td className="px-2 text-right">
          <Figure value={row.tokens} unit="count" />
        </td>
      )}
      {room >= 2 && (
        <td className={cn("px-2 text-right", room < 3 && "pr-4")}>
          <Figure value={row.cost} unit="usd" note={row.isCostEstimated ? ", from model and tokens" : ""} />
        </td>
      )}
      {room >= 3 && (
        <td className="truncate pr-4 pl-2 text-muted-foreground" title={row.user ?? undefined}>
          {row.user}
        </td>
      )}
    </tr>
  );
});

/** The clock, and the day in front of it where that is another one. */
function When({ row, zone, hasRoom = false }: { row: EventRow; zone: Zone; hasRoom?: boolean }) {
  const [day, clock] = formatTime(row.timestamp, zone, "ms").split(", ");
  const isToday = day === formatTime(Date.now(), zone, "day");
  return (
    <time
      dateTime={row.timestamp}
      title={formatTimeExact(row.timestamp, zone)}
      className="whitespace-nowrap text-muted-foreground text-xs"
    >
      {isToday ? clock : `${day} ${hasRoom ? clock : clock?.slice(0, 8)}`}
    </time>
  );
}

/** What the event says, on one line. */
function Said({ row }: { row: EventRow }) {
  const isError = row.type === "error";
  const lead = isError ? row.errorType : row.tool;
  const said = row.details ?? row.content ?? (row.feedback === null ? null : `${formatNumber(row.feedback)} of 5`);
  const text = row.feedback !== null && row.content ? `${formatNumber(row.feedback)} of 5: ${row.content}` : said;
  return (
    <span className="block min-w-0 truncate" title={text ?? undefined}>
      {lead && (
        <span className={cn("font-mono text-xs", isError ? "text-bad" : "text-muted-foreground", text && "mr-2")}>{lead}</span>
      )}
      {text}
      {!text && row.metadata && <span className="font-mono text-muted-foreground text-xs">{row.metadata}</span>}
    </span>
  );
}

function Figure({ value, unit, note = "" }: { value: number | null; unit: Unit; note?: string }) {
  if (value === null) return null;
  return (
    <span title={formatExact(value, unit) + note} className="whitespace-nowrap">
      {formatNumber(value, unit)}
    </span>
  );
}

function GapLine({ gap, ...props }: RestProps & { gap: Gap }) {
  const isNarrow = props.room === 0;
  return (
    <tr {...rowProps(props)}>
      <td
        colSpan={isNarrow ? 1 : columnsOf(props.room).length}
        className={cn("bg-warn-soft px-4", isNarrow ? "h-[54px]" : "h-8")}
      >
        <span className="flex items-center gap-2 text-warn">
          <TriangleAlert aria-hidden className="size-3.5 shrink-0" />
          <span className={isNarrow ? "line-clamp-2" : "truncate"} title={gapText(gap)}>
            {gapText(gap)}
          </span>
          <button type="button" tabIndex={-1} onClick={props.onReload} className="min-h-6 shrink-0 underline underline-offset-2">
            Load anew
          </button>
        </span>
      </td>
    </tr>
  );
}

/** What is missing and why. */
export function gapText({ count, isExact, reason }: Gap): string {
  const one = count === 1;
  const events = count === null ? "Events" : `${isExact ? "" : "Up to "}${formatInteger(count)} event${one ? "" : "s"}`;
  const were = one ? "was" : "were";
  switch (reason) {
    case "slow":
      return `${events} ${were} not delivered: the stream was too fast. They are stored.`;
    case "interrupted":
      return `${events} ${were} not delivered: the stream was interrupted. They are stored.`;
    case "waited":
      return `${events} ${were} dropped while they waited: the page keeps 100,000. They are stored.`;
  }
}
