/** One group beside the list: its message, when and whom it hit, and one error whole. */
import { Link } from "@tanstack/react-router";
import { ArrowDown, ArrowUp } from "lucide-react";
import { type ReactNode, useEffect, useState } from "react";
import type { ErrorGroup, ErrorsAnswer } from "@/api/generated.ts";
import { CopyButton } from "@/components/copy-button.tsx";
import { DataTable } from "@/components/data-table.tsx";
import { EventDetail } from "@/components/event-detail.tsx";
import { Notice } from "@/components/notice.tsx";
import { Button, button } from "@/components/ui/button.tsx";
import { Dialog } from "@/components/ui/dialog.tsx";
import { Ago, Time, Value } from "@/components/value.tsx";
import { filterTerm } from "@/lib/filter-term.ts";
import { formatInteger, formatNumber, formatTime, type Zone } from "@/lib/format.ts";
import { Shape } from "./shape.tsx";
import { trendOf, trendRows, trendText } from "./trend.ts";
import { TrendBars } from "./trend-bars.tsx";

interface GroupDrawerProps {
  /** Absent while it loads. */
  answer: ErrorsAnswer | undefined;
  /** As the list has them. */
  groups: readonly ErrorGroup[];
  /** The group that is open. */
  openId: string | undefined;
  onMove: (id: string) => void;
  onClose: () => void;
  zone: Zone;
}

export function GroupDrawer({ answer, groups, openId, onMove, onClose, zone }: GroupDrawerProps) {
  const group = answer?.items.find((each) => each.id === openId);
  const at = groups.findIndex((each) => each.id === openId);
  const isOpen = openId !== undefined && answer !== undefined;
  const previous = at > 0 ? groups[at - 1] : undefined;
  const next = at >= 0 ? groups[at + 1] : undefined;

  useEffect(() => {
    if (!isOpen) return;
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const to = event.key === "k" ? previous : event.key === "j" ? next : undefined;
      if (to) onMove(to.id);
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [isOpen, previous, next, onMove]);

  return (
    <Dialog
      isOpen={isOpen}
      onClose={onClose}
      title={group?.error_type ?? (group ? "Error without a type" : "Error")}
      side="right"
    >
      <div className="flex items-center gap-1.5 px-4 pt-4">
        <Button size="small" disabled={!previous} aria-keyshortcuts="k" onClick={() => previous && onMove(previous.id)}>
          <ArrowUp /> Previous
        </Button>
        <Button size="small" disabled={!next} aria-keyshortcuts="j" onClick={() => next && onMove(next.id)}>
          <ArrowDown /> Next
        </Button>
      </div>
      {answer && group ? (
        <Details key={group.id} answer={answer} group={group} zone={zone} />
      ) : (
        <p className="p-4 text-muted-foreground">
          This group has no errors in the range and for the agents that are chosen, or it is not among the largest, which are
          listed.
        </p>
      )}
    </Dialog>
  );
}

function Details({ answer, group, zone }: { answer: ErrorsAnswer; group: ErrorGroup; zone: Zone }) {
  // The newest error changes while one reads, so the one that was there first stays.
  const [example] = useState(group.example);
  const trend = trendOf(answer, group.trend);
  const rows = trendRows(trend);
  return (
    <div className="flex flex-col gap-4 p-4">
      <div className="rounded-md border bg-background px-3 py-2">
        <Shape shape={group.shape} className="block whitespace-pre-wrap [overflow-wrap:anywhere]" />
      </div>
      <div className="-mt-2 -ml-2 flex flex-wrap items-center gap-x-1">
        <CopyButton text={group.shape} label="Copy the message" />
        <Link to="/events" search={{ filter: filterOf(group) }} className={button({ variant: "ghost", size: "small" })}>
          All events of this type
        </Link>
      </div>
      <dl className="flex flex-wrap gap-x-6 gap-y-2">
        <Fact title="Errors">
          <Value value={group.count} className="font-semibold" />
        </Fact>
        <Fact title="Share of all">{formatNumber(group.share * 100, "percent")}</Fact>
        <Fact title="Agents">
          <Value value={group.agents_affected} />
        </Fact>
        <Fact title="First in this range">
          <Time time={group.first_seen} /> <Ago time={group.first_seen} className="text-muted-foreground" />
        </Fact>
        <Fact title="Last">
          <Time time={group.last_seen} /> <Ago time={group.last_seen} className="text-muted-foreground" />
        </Fact>
      </dl>
      <Section title="Trend">
        <TrendBars trend={trend} className="h-20 w-full" />
        <p className="mt-1 flex justify-between text-2xs text-muted-foreground">
          <span>{formatTime(trend.start, zone)}</span>
          <span>{trendText(trend, zone)}</span>
          <span>{formatTime(answer.end, zone)}</span>
        </p>
        <details className="mt-1">
          <summary className="link w-fit min-h-6 text-xs">As a table</summary>
          <div className="flex max-h-56 flex-col">
            <DataTable
              label="Errors over time"
              table={{
                columns: [zone === "utc" ? "From (UTC)" : "From", "Errors"],
                rows: rows.map(({ at, count }) => [formatTime(at, zone), count]),
              }}
            />
          </div>
        </details>
      </Section>
      <Section title="Agents affected">
        <Agents group={group} />
      </Section>
      <Section title="One of them, whole">
        {group.is_example_cut && (
          <Notice className="mb-2">It is long: the list has only a part of it, what follows is read from the store.</Notice>
        )}
        <EventDetail agentId={example.agent_id} timestamp={example.timestamp} eventId={example.event_id} sketch={example} />
      </Section>
      <Section title="Newest of them">
        <ul className="divide-y rounded-md border">
          {group.recent.map((place) => (
            <li key={`${place.agent_id} ${place.timestamp} ${place.event_id}`}>
              <Link
                to="/agents/$agentId/events/$timestamp/$eventId"
                params={{ agentId: place.agent_id, timestamp: place.timestamp, eventId: place.event_id }}
                className="flex items-baseline justify-between gap-3 px-3 py-1.5 hover:bg-muted/60"
              >
                <span className="min-w-0 truncate">
                  <Time time={place.timestamp} precision="ms" /> <span className="text-muted-foreground">{place.agent_id}</span>
                </span>
                <Ago time={place.timestamp} className="text-muted-foreground text-xs" />
              </Link>
            </li>
          ))}
        </ul>
      </Section>
    </div>
  );
}

/** The filter that finds the events of a group's type. */
function filterOf(group: ErrorGroup): string {
  return group.error_type ? `type:error ${filterTerm("error", group.error_type)}` : "type:error";
}

/** Agents shown before they are unfolded. */
const FIRST_AGENTS = 5;

function Agents({ group }: { group: ErrorGroup }) {
  const [isOpen, setIsOpen] = useState(false);
  const most = group.agents[0]?.count ?? 1;
  const shown = isOpen ? group.agents : group.agents.slice(0, FIRST_AGENTS);
  const more = group.agents_affected - shown.length;
  return (
    <>
      <ul className="flex flex-col gap-0.5">
        {shown.map(({ agent_id, count }) => (
          <li key={agent_id} className="relative flex items-center justify-between gap-3 rounded px-2 py-1">
            <span
              aria-hidden
              className="absolute inset-y-0 left-0 rounded bg-primary-soft"
              style={{ width: `${(count / most) * 100}%` }}
            />
            <Link to="/agents/$agentId" params={{ agentId: agent_id }} className="link relative min-w-0 truncate">
              {agent_id}
            </Link>
            <span className="relative">{formatInteger(count)}</span>
          </li>
        ))}
      </ul>
      {group.agents.length > shown.length ? (
        <button type="button" onClick={() => setIsOpen(true)} className="link mt-1 min-h-6 px-2 text-xs">
          {formatInteger(more)} more
        </button>
      ) : (
        more > 0 && <p className="mt-1 px-2 text-muted-foreground text-xs">and {formatInteger(more)} more</p>
      )}
    </>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section aria-label={title}>
      <h3 className="mb-1 font-semibold text-xs">{title}</h3>
      {children}
    </section>
  );
}

function Fact({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div>
      <dt className="text-2xs text-muted-foreground">{title}</dt>
      <dd>{children}</dd>
    </div>
  );
}
