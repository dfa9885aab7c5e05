/** One event beside the list; the arrow keys go through the list. */
import { Link } from "@tanstack/react-router";
import { ArrowDown, ArrowUp, SquareArrowOutUpRight } from "lucide-react";
import { useEffect } from "react";
import { EventDetail, type EventSketch } from "@/components/event-detail.tsx";
import { Button } from "@/components/ui/button.tsx";
import { Dialog } from "@/components/ui/dialog.tsx";
import type { EventFeed } from "./feed.ts";
import { type EventRow, partsOf } from "./row.ts";
import { useFeedVersion } from "./use-feed.ts";

interface EventDrawerProps {
  feed: EventFeed;
  /** The event that is open. */
  openKey: string | undefined;
  onMove: (key: string) => void;
  onClose: () => void;
}

export function EventDrawer({ feed, openKey, onMove, onClose }: EventDrawerProps) {
  useFeedVersion(feed);
  const parts = openKey === undefined ? null : partsOf(openKey);
  const row = openKey === undefined ? undefined : feed.find(openKey);
  const at = row ? feed.view.indexOf(row) : -1;
  const newer = neighbour(feed, at, -1);
  const older = neighbour(feed, at, 1);
  const isOpen = parts !== null;

  useEffect(() => {
    if (!isOpen) return;
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      // A long text in the drawer scrolls by the same keys while it has the focus.
      const isScrolling = event.target instanceof HTMLElement && event.target.matches("p[tabindex]");
      const isUp = event.key === "k" || (event.key === "ArrowUp" && !isScrolling);
      const isDown = event.key === "j" || (event.key === "ArrowDown" && !isScrolling);
      const next = isUp ? newer : isDown ? older : undefined;
      if (isUp || isDown) event.preventDefault();
      if (next) onMove(next.key);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [isOpen, newer, older, onMove]);

  return (
    <Dialog isOpen={isOpen} onClose={onClose} title="Event" side="right">
      {parts && (
        <div className="flex flex-col gap-3 p-4">
          <div className="flex items-center gap-1.5">
            <Step label="Newer" icon={<ArrowUp />} to={newer} onMove={onMove} keys="k ArrowUp" />
            <Step label="Older" icon={<ArrowDown />} to={older} onMove={onMove} keys="j ArrowDown" />
            {at < 0 && (
              <span className="px-1 text-muted-foreground text-xs">It is not in the list as it is loaded and filtered now.</span>
            )}
          </div>
          <EventDetail
            key={openKey}
            {...parts}
            sketch={row && sketchOf(row)}
            actions={
              <Link
                to="/agents/$agentId/events/$timestamp/$eventId"
                params={parts}
                className="inline-flex h-7 items-center gap-1.5 rounded-md px-2 font-medium text-muted-foreground text-xs hover:bg-muted hover:text-foreground [&_svg]:size-3.5"
              >
                <SquareArrowOutUpRight aria-hidden /> Open as a page
              </Link>
            }
          />
        </div>
      )}
    </Dialog>
  );
}

interface StepProps {
  label: string;
  icon: React.ReactNode;
  to: EventRow | undefined;
  onMove: (key: string) => void;
  keys: string;
}

function Step({ label, icon, to, onMove, keys }: StepProps) {
  return (
    <Button size="small" disabled={!to} aria-keyshortcuts={keys} onClick={() => to && onMove(to.key)}>
      {icon} {label}
    </Button>
  );
}

/** The next event in that direction; lines that are no events are passed over. */
function neighbour(feed: EventFeed, at: number, step: 1 | -1): EventRow | undefined {
  if (at < 0) return undefined;
  for (let i = at + step; ; i += step) {
    const entry = feed.view.at(i);
    if (!entry || entry.kind === "event") return entry;
  }
}

/** What the list knows of it, under the API's names. */
function sketchOf(row: EventRow): EventSketch {
  const known = {
    agent_id: row.agent,
    timestamp: row.timestamp,
    event_id: row.id,
    message_type: row.type,
    content: row.content,
    error_details: row.details,
    error_type: row.errorType,
    tool_name: row.tool,
    model_used: row.model,
    user_id: row.user,
    conversation_id: row.conversation,
    session_id: row.session,
    trace_id: row.trace,
    response_time_ms: row.ms,
    token_count: row.tokens,
    cost_usd: row.cost,
    cost_estimated: row.isCostEstimated,
    user_feedback: row.feedback,
    receipt: row.receipt,
  };
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== null)) as unknown as EventSketch;
}
