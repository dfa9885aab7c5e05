/** How much is shown, how fast it comes, and the page's own pause. */
import { Download, Pause, Play } from "lucide-react";
import { Sparkline } from "@/components/sparkline.tsx";
import { Button } from "@/components/ui/button.tsx";
import { Tooltip } from "@/components/ui/tooltip.tsx";
import { formatInteger, formatNumber } from "@/lib/format.ts";
import { useLive } from "@/lib/live.ts";
import { useNow } from "@/lib/use-now.ts";
import { saveCsv } from "./export.ts";
import type { EventFeed } from "./feed.ts";
import { MOST_EVENTS } from "./feed.ts";
import type { Session } from "./session.ts";
import { useFeedVersion } from "./use-feed.ts";

/** The figure beside the sparkline is the mean of so many seconds. */
const MEAN_SECONDS = 5;

export function FeedStatus({
  feed,
  session,
  isFiltered,
}: {
  feed: EventFeed;
  session: Session | undefined;
  isFiltered: boolean;
}) {
  useFeedVersion(feed);
  const shown = feed.view.length;
  return (
    <header className="flex min-h-10 flex-wrap items-center gap-x-3 gap-y-1 border-b px-3 py-1 sm:gap-x-4 sm:px-4">
      <h2 className="hidden font-semibold text-sm sm:block">Events</h2>
      <span className="text-muted-foreground text-xs" title={`${formatInteger(feed.all.length)} loaded`}>
        {formatInteger(shown)} {isFiltered ? `of ${formatInteger(feed.all.length)} loaded` : "loaded"}
      </span>
      {session && <EventRate feed={feed} isLive={session.isLive} />}
      <span className="ml-auto flex items-center gap-1">
        <PauseButton feed={feed} isLive={session?.isLive ?? false} />
        <Tooltip text="Save what is shown as CSV">
          <Button
            variant="ghost"
            size="icon"
            aria-label="Save what is shown as CSV"
            disabled={shown === 0}
            onClick={() => saveCsv(feed)}
          >
            <Download />
          </Button>
        </Tooltip>
      </span>
    </header>
  );
}

function EventRate({ feed, isLive }: { feed: EventFeed; isLive: boolean }) {
  const now = useNow();
  const { mode } = useLive();
  if (!isLive) return <span className="text-muted-foreground text-xs">The range has ended: nothing new comes</span>;
  if (mode !== "live") return null;
  const values = feed.rate.values(now);
  const known = values.slice(-MEAN_SECONDS).filter((value) => value !== null);
  const mean = known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  return (
    <span className="flex items-center gap-2" title="Events per second over the last minute">
      <Sparkline values={values} width={90} height={20} className="max-sm:w-12" />
      <span className="text-muted-foreground text-xs">
        {mean === null ? "…" : formatNumber(mean >= 10 ? Math.round(mean) : Math.round(mean * 10) / 10)}/s
        <span className="sr-only"> events per second, over the last {MEAN_SECONDS} seconds</span>
      </span>
    </span>
  );
}

function PauseButton({ feed, isLive }: { feed: EventFeed; isLive: boolean }) {
  if (!isLive) return null;
  const { isPaused, waitingCount, waitingDropped } = feed;
  if (!isPaused) {
    return (
      <Button size="small" onClick={() => feed.hold("pause")}>
        <Pause /> Pause
      </Button>
    );
  }
  return (
    <>
      <span className="px-1 font-medium text-warn text-xs">
        Paused: {formatInteger(waitingCount)} {waitingCount === 1 ? "event waits" : "events wait"}
        {waitingDropped > 0 &&
          `, the oldest ${formatInteger(waitingDropped)} were dropped (the page keeps ${formatInteger(MOST_EVENTS)})`}
      </span>
      <Button size="small" variant="primary" onClick={() => feed.release("pause")}>
        <Play /> Go on
      </Button>
    </>
  );
}
