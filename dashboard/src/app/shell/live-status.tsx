import { Pause, Play } from "lucide-react";
import { POLL_MS } from "@/api/live.ts";
import { Button } from "@/components/ui/button.tsx";
import { Tooltip } from "@/components/ui/tooltip.tsx";
import { cn } from "@/lib/cn.ts";
import { formatAgo, formatDuration } from "@/lib/format.ts";
import { liveClient, useLive } from "@/lib/live.ts";
import { useNow } from "@/lib/use-now.ts";

const DOTS = { connecting: "bg-control-border", live: "bg-ok", paused: "bg-control-border", polling: "bg-warn" } as const;

/** Whether the page follows, how far it is behind, and the switch. */
export function LiveStatus() {
  const { mode, behindMs, updatedAt, isCaughtUp } = useLive();
  const now = useNow();
  const age = updatedAt === null ? "" : `updated ${formatAgo(updatedAt, Math.max(now, updatedAt))}`;
  const behind =
    behindMs === null
      ? ""
      : behindMs < 60_000
        ? `${(behindMs / 1000).toFixed(1)} s behind`
        : `${formatDuration(behindMs / 1000)} behind`;
  const text = {
    connecting: "Connecting",
    live: isCaughtUp ? `Live, ${behind}` : "Live, still reading totals",
    paused: `Paused, ${age}`,
    polling: `Offline, ${age}`,
  }[mode];
  const isPaused = mode === "paused";
  const more = {
    connecting: "The live stream opens",
    live: "Numbers change as events are counted",
    paused: "Nothing changes until you go on",
    polling: `The live stream is broken. It is tried again, and the numbers are asked for every ${POLL_MS / 1000} s`,
  }[mode];
  return (
    <span className="flex items-center gap-1">
      <span
        className={cn("flex items-center gap-1.5 text-muted-foreground text-xs", mode === "polling" && "font-medium text-warn")}
        title={more}
      >
        <span aria-hidden className={cn("size-2 rounded-full", DOTS[mode])} />
        <span className="hidden whitespace-nowrap sm:inline">{text}</span>
        <span className="sr-only sm:hidden">{text}</span>
      </span>
      {/* Said aloud only when it breaks or comes back, not with every number. */}
      <span role="status" className="sr-only">
        {mode === "polling" ? more : ""}
      </span>
      <Tooltip text={isPaused ? "Go on" : "Pause"}>
        <Button
          variant="ghost"
          size="icon"
          aria-label={isPaused ? "Go live" : "Pause live updates"}
          onClick={() => liveClient.setPaused(!isPaused)}
        >
          {isPaused ? <Play /> : <Pause />}
        </Button>
      </Tooltip>
    </span>
  );
}
