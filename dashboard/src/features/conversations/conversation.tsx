/** One conversation: what was said, called and got wrong, when, and what it came to. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, useParams, useSearch } from "@tanstack/react-router";
import { Download } from "lucide-react";
import { useCallback, useEffect, useRef, useState } from "react";
import type { ConversationAnswer } from "@/api/generated.ts";
import { ApiError } from "@/api/http.ts";
import { conversationQuery } from "@/api/queries.ts";
import { Notice } from "@/components/notice.tsx";
import { Panel } from "@/components/panel.tsx";
import { Button, button } from "@/components/ui/button.tsx";
import { Menu, MenuItem } from "@/components/ui/menu.tsx";
import { useChangeSearch, useCommon } from "@/lib/common.ts";
import { filterTerm } from "@/lib/filter-term.ts";
import { formatInteger } from "@/lib/format.ts";
import { rangeSearch } from "@/lib/search.ts";
import { saveCsv, saveJson } from "./conversation-files.ts";
import { ConversationHeader } from "./conversation-header.tsx";
import { Timeline } from "./timeline.tsx";

export function Conversation() {
  const { conversationId } = useParams({ strict: false }) as { conversationId: string };
  const { agent, event } = useSearch({ strict: false }) as { agent?: string; event?: string };
  const { zone } = useCommon();
  const options = conversationQuery(conversationId, agent);
  const known = useQueryClient().getQueryData(options.queryKey);
  const query = useQuery({ ...options, meta: known && isOver(known) ? {} : options.meta });
  const list = useRef<HTMLOListElement>(null);
  const answer = query.data;
  const [selected, select] = useSelected(answer, event, list);

  if (query.error instanceof ApiError && query.error.status === 404)
    return <Missing id={conversationId} detail={query.error.message} />;
  const goToFirstError = () => {
    const index = answer?.events.findIndex((each) => each.message_type === "error") ?? -1;
    if (index >= 0) select(index, true);
  };
  return (
    <div className="flex flex-col gap-3">
      <ConversationHeader id={conversationId} answer={answer} isLoading={query.isPending} onFirstError={goToFirstError} />
      <Panel
        title="Timeline"
        note={
          answer &&
          `${formatInteger(answer.events.length)} events, oldest first${answer.conversation.status === "active" ? "; new ones appear at the end" : ""}`
        }
        query={query}
        height="min-h-96"
        actions={answer && <Actions id={conversationId} answer={answer} />}
      >
        {(data) => (
          <>
            {!data.is_complete && (
              <Notice tone="warn" className="mb-2">
                Only the newest {formatInteger(data.events.length)} events are here, and the numbers above are of these. The older
                ones are among the events.
              </Notice>
            )}
            <Timeline answer={data} list={list} selected={selected} onSelect={select} zone={zone} />
          </>
        )}
      </Panel>
    </div>
  );
}

/** After this long without an event nothing more is expected, ms. */
const QUIET_MS = 30 * 60_000;

/** Whether it need not be asked for again until it is opened anew. */
function isOver({ conversation }: ConversationAnswer): boolean {
  return Date.now() - Date.parse(conversation.lastEventAt) > QUIET_MS;
}

/** The address follows this long after the last step: a held arrow key makes many. */
const ADDRESS_MS = 400;

/** The event that was gone to, kept in the address so that it can be shared. */
function useSelected(answer: ConversationAnswer | undefined, eventId: string | undefined, list: { current: HTMLElement | null }) {
  const [id, setId] = useState(eventId);
  const change = useChangeSearch();
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const events = answer?.events;
  const index = id === undefined ? -1 : (events?.findIndex((event) => event.event_id === id) ?? -1);

  const show = useCallback(
    (at: number, hasFocus: boolean) => {
      const item = list.current?.querySelector<HTMLElement>(`[data-index="${at}"]`);
      if (!item) return;
      if (!isInSight(item)) center(item);
      if (hasFocus) item.focus({ preventScroll: true });
    },
    [list],
  );
  const select = useCallback(
    (at: number, isFinal: boolean) => {
      const event = events?.[at];
      if (!event) return;
      setId(event.event_id);
      show(at, isFinal);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => change({ event: event.event_id }, { replace: true }), ADDRESS_MS);
    },
    [events, show, change],
  );

  useEffect(() => () => clearTimeout(timer.current), []);

  // The one that the address names is gone to once, when the events are there.
  const isShown = useRef(false);
  useEffect(() => {
    if (isShown.current || !events) return;
    isShown.current = true;
    if (index >= 0) show(index, false);
  }, [events, index, show]);

  return [index >= 0 ? index : null, select] as const;
}

/** What is drawn only now changes its height for a few frames, so the item is held in the middle meanwhile. */
function center(item: HTMLElement, frames = 8): void {
  const box = item.getBoundingClientRect();
  if (Math.abs((box.top + box.bottom) / 2 - innerHeight / 2) > 2) item.scrollIntoView({ block: "center" });
  if (frames > 0) requestAnimationFrame(() => center(item, frames - 1));
}

/** Room for what lies over the upper and the lower edge of the page, px. */
const COVERED = { top: 170, bottom: 64 };

function isInSight(item: HTMLElement): boolean {
  const { top, bottom } = item.getBoundingClientRect();
  return top >= COVERED.top && bottom <= innerHeight - COVERED.bottom;
}

function Actions({ id, answer }: { id: string; answer: ConversationAnswer }) {
  const { status, startedAt, lastEventAt } = answer.conversation;
  // One that has ended may lie before the range of the page, one that goes on is in it.
  const ended = status === "active" ? null : { from: Date.parse(startedAt), to: Date.parse(lastEventAt) + 1_000 };
  return (
    <>
      <Link
        to="/events"
        search={{ filter: filterTerm("conversation", id), ...(ended ? rangeSearch(ended) : {}) }}
        className={button({ variant: "ghost", size: "small" })}
      >
        As events
      </Link>
      <Menu
        label="Save the conversation"
        trigger={
          <Button variant="ghost" size="small" aria-label="Save the conversation">
            <Download /> Save
          </Button>
        }
      >
        <MenuItem onSelect={() => saveCsv(answer)}>Save as CSV</MenuItem>
        <MenuItem onSelect={() => saveJson(answer)}>Save as JSON</MenuItem>
      </Menu>
    </>
  );
}

function Missing({ id, detail }: { id: string; detail: string }) {
  return (
    <div className="mx-auto flex max-w-prose flex-col items-center gap-3 py-24 text-center">
      <h1 className="font-semibold text-base">There is no such conversation</h1>
      <p className="break-all font-mono text-muted-foreground text-xs">{id}</p>
      <p className="text-muted-foreground">
        Its events may have expired, or not have been counted yet; in that case it appears here by itself. The server says:{" "}
        {detail}.
      </p>
      <Link to="/conversations" search={{}} className={button()}>
        All conversations
      </Link>
    </div>
  );
}
