/** What the table of events is made of besides its rows. */
import { ArrowUp } from "lucide-react";
import { Button } from "@/components/ui/button.tsx";
import { cn } from "@/lib/cn.ts";
import { formatInteger } from "@/lib/format.ts";
import { useMedia } from "@/lib/use-media.ts";
import { columnsOf, type Room } from "./event-line.tsx";
import type { EventFeed } from "./feed.ts";

/** How many events wait above, where somebody reads; and the way to them. */
export function NewEvents({ feed, onShow }: { feed: EventFeed; onShow: (isMouse: boolean) => void }) {
  if (feed.waitingCount === 0 || feed.isPaused) return null;
  return (
    <Button
      variant="primary"
      size="small"
      className="absolute top-9 left-1/2 z-20 -translate-x-1/2 shadow-lg"
      onClick={(event) => onShow(event.detail > 0)}
    >
      <ArrowUp /> {formatInteger(feed.waitingCount)} new {feed.waitingCount === 1 ? "event" : "events"}
    </Button>
  );
}

/** How much room the window has for columns. */
export function useRoom(): Room {
  const rooms = [useMedia("(width >= 40rem)"), useMedia("(width >= 64rem)"), useMedia("(width >= 80rem)")];
  return rooms.filter(Boolean).length as Room;
}

export function TableHead({ room }: { room: Room }) {
  if (room === 0) {
    return (
      <thead className="sr-only">
        <tr>
          <th scope="col">Event</th>
        </tr>
      </thead>
    );
  }
  const columns = columnsOf(room);
  return (
    <thead className="text-muted-foreground text-xs">
      <tr aria-rowindex={1}>
        {columns.map((column, i) => (
          <th
            key={column.title}
            scope="col"
            className={cn(
              "sticky top-0 z-10 h-7 truncate border-b bg-card font-normal",
              i === 0 ? "pr-2 pl-4" : i === columns.length - 1 ? "pr-4 pl-2" : "px-2",
              "isNumber" in column ? "text-right" : "text-left",
              column.width,
            )}
          >
            {column.title}
          </th>
        ))}
      </tr>
    </thead>
  );
}

/** Holds the place of the rows that are not in sight. */
export function Spacer({ height }: { height: number }) {
  if (height <= 0) return null;
  return (
    <tr aria-hidden>
      <td className="p-0" style={{ height }} />
    </tr>
  );
}
