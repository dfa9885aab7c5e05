/** The filter in force, term by term, and who applies it. */
import { X } from "lucide-react";
import { Button } from "@/components/ui/button.tsx";
import { cn } from "@/lib/cn.ts";
import { formatInteger, formatTime, type Zone } from "@/lib/format.ts";
import type { EventFeed } from "./feed.ts";
import { printFilter, printTerm, type Term } from "./filter.ts";
import type { Plan } from "./plan.ts";
import type { Session } from "./session.ts";
import { useFeedVersion } from "./use-feed.ts";

interface FilterChipsProps {
  terms: readonly Term[];
  plan: Plan | undefined;
  feed: EventFeed;
  session: Session | undefined;
  zone: Zone;
  onApply: (filter: string) => void;
}

export function FilterChips({ terms, plan, feed, session, zone, onApply }: FilterChipsProps) {
  if (terms.length === 0) return null;
  const local = plan?.local ?? [];
  return (
    <section aria-label="Filter in force" className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
      <ul className="flex flex-wrap gap-1.5">
        {terms.map((term, i) => {
          const text = printTerm(term);
          const isLocal = local.includes(term);
          return (
            // biome-ignore lint/suspicious/noArrayIndexKey: the same term may be there twice
            <li key={`${text} ${i}`}>
              <button
                type="button"
                title={isLocal ? "Filtered here, from what was loaded. Click to remove" : "Click to remove"}
                onClick={() => onApply(printFilter(terms.filter((each) => each !== term)))}
                className={cn(
                  "flex min-h-6 max-w-72 items-center gap-1 rounded border px-1.5 font-mono text-xs hover:bg-muted",
                  isLocal ? "border-control-border border-dashed" : "border-transparent bg-primary-soft text-primary",
                )}
              >
                <span className="sr-only">Remove </span>
                <span className="truncate">{text}</span>
                <X aria-hidden className="size-3 shrink-0" />
              </button>
            </li>
          );
        })}
      </ul>
      {terms.length > 1 && (
        <Button variant="ghost" size="small" onClick={() => onApply("")}>
          Clear
        </Button>
      )}
      {local.length > 0 && <LocalNote local={local} feed={feed} session={session} zone={zone} />}
    </section>
  );
}

type LocalNoteProps = Pick<FilterChipsProps, "feed" | "session" | "zone"> & { local: readonly Term[] };

/** Says what the browser filters: events that were not loaded are not found. */
function LocalNote({ local, feed, session, zone }: LocalNoteProps) {
  useFeedVersion(feed);
  const oldest = feed.all.oldest;
  const isWhole = session?.isEnd && !session.completeFrom && !feed.all.isFull;
  const back = oldest?.kind === "event" ? `, back to ${formatTime(oldest.timestamp, zone, "second")}` : "";
  const count = formatInteger(feed.all.length);
  return (
    <p className="text-muted-foreground text-xs">
      <span className="font-mono">{printFilter(local)}</span> {local.length === 1 ? "is" : "are"} filtered here from what was
      loaded: {isWhole ? `all ${count} events that the rest of the filter finds in this range` : `${count} events${back}`}.
    </p>
  );
}
