/** What is below the oldest row: more, the end, or why there is no more. */
import { RotateCw } from "lucide-react";
import type { ReactNode } from "react";
import { Button } from "@/components/ui/button.tsx";
import { formatInteger, formatTime, type Zone } from "@/lib/format.ts";
import { type EventFeed, MOST_EVENTS } from "./feed.ts";
import { MOST_IDLE_PAGES, type Session } from "./session.ts";

export function ListEnd({ feed, session, zone }: { feed: EventFeed; session: Session; zone: Zone }) {
  const text = (): ReactNode => {
    if (session.error) {
      return (
        <>
          <span className="text-bad">Older events could not be loaded: {session.error.message}</span>
          <Button size="small" onClick={() => session.retry()}>
            <RotateCw /> Try again
          </Button>
        </>
      );
    }
    if (session.isLoadingOlder) return "Older events load …";
    if (feed.all.isFull)
      return `The page keeps ${formatInteger(MOST_EVENTS)} events. For older ones choose an earlier range or a filter.`;
    if (session.completeFrom) {
      return `Further back than ${formatTime(session.completeFrom, zone, "second")} only some agents could be looked at. Choose agents to go on.`;
    }
    if (session.isEnd) return feed.view.length > 0 ? "No older events in this range." : null;
    if (session.idlePages < MOST_IDLE_PAGES && feed.view.length > 0) return null;
    return (
      <>
        <span>{searchedText(feed, zone)}</span>
        <Button
          size="small"
          onClick={() => {
            session.idlePages = 0;
            void session.loadOlder();
          }}
        >
          Look further back
        </Button>
      </>
    );
  };
  const content = text();
  return (
    <div className="sticky left-0 flex min-h-10 flex-wrap items-center justify-center gap-2 px-4 py-2 text-center text-muted-foreground text-xs">
      {content}
    </div>
  );
}

/** `Looked through 5,000 events, back to 26 Nov, 10:32:01.` */
export function searchedText(feed: EventFeed, zone: Zone): string {
  const oldest = feed.all.oldest;
  const back = oldest?.kind === "event" ? `, back to ${formatTime(oldest.timestamp, zone, "second")}` : "";
  return `Looked through ${formatInteger(feed.all.length)} events${back}.`;
}
