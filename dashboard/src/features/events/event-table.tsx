/**
 * The table of events: only the rows in sight exist. New rows come in on top, unless the viewer is in the list; then they wait
 * and a button says how many.
 */
import { useVirtualizer } from "@tanstack/react-virtual";
import { type KeyboardEvent, type MouseEvent, type PointerEvent, useEffect, useRef, useState } from "react";
import { eventPath } from "@/components/event-detail.tsx";
import type { Zone } from "@/lib/format.ts";
import { Line } from "./event-line.tsx";
import { NewEvents, Spacer, TableHead, useRoom } from "./event-table-parts.tsx";
import type { EventFeed } from "./feed.ts";
import { ListEnd } from "./list-end.tsx";
import type { Entry } from "./row.ts";
import { MOST_IDLE_PAGES, type Session } from "./session.ts";
import { useFeedVersion } from "./use-feed.ts";

interface EventTableProps {
  feed: EventFeed;
  session: Session;
  zone: Zone;
  openKey: string | undefined;
  onOpen: (key: string) => void;
  /** Asks for everything again. */
  onReload: () => void;
}

const ROW_HEIGHT = 33;
const NARROW_ROW_HEIGHT = 55;
const HEAD_HEIGHT = 28;
/** Scrolled by more than this the viewer is reading further down, px. */
const AT_TOP = 4;
/** Rows left below the last in sight when older ones are loaded. */
const LOAD_BEFORE_END = 20;

export function EventTable({ feed, session, zone, openKey, onOpen, onReload }: EventTableProps) {
  useFeedVersion(feed);
  const scroller = useRef<HTMLDivElement>(null);
  const table = useRef<HTMLTableElement>(null);
  const room = useRoom();
  const rowHeight = room === 0 ? NARROW_ROW_HEIGHT : ROW_HEIGHT;
  const head = room === 0 ? 0 : HEAD_HEIGHT;
  const { view } = feed;
  const virtual = useVirtualizer({
    count: view.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => rowHeight,
    overscan: 6,
    scrollMargin: head,
    scrollPaddingStart: head,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: the height of rows changes with the width of the window
  useEffect(() => virtual.measure(), [rowHeight]);

  const [active, setActive] = useState<Entry>();
  const [hasFocus, setHasFocus] = useState(false);
  const ignoresPointer = useRef(false);

  const items = virtual.getVirtualItems();
  const last = items.at(-1);
  const before = (items[0]?.start ?? head) - head;
  const after = virtual.getTotalSize() - ((last?.end ?? head) - head);

  const isNearEnd = (last?.index ?? 0) >= view.length - LOAD_BEFORE_END;
  const canLoad = !session.isLoadingOlder && !session.error && !session.isEnd && session.idlePages < MOST_IDLE_PAGES;
  useEffect(() => {
    if (isNearEnd && canLoad) void session.loadOlder();
  }, [isNearEnd, canLoad, session]);

  const onScroll = () => {
    session.idlePages = 0;
    if ((scroller.current?.scrollTop ?? 0) > AT_TOP) feed.hold("scroll");
    else feed.release("scroll");
  };
  const toNewest = () => {
    ignoresPointer.current = true;
    feed.catchUp();
    scroller.current?.scrollTo({ top: 0 });
  };
  const goTo = (index: number) => {
    const next = Math.max(0, Math.min(view.length - 1, index));
    setActive(view.at(next));
    virtual.scrollToIndex(next, { align: "auto" });
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = active ? view.indexOf(active) : -1;
    const page = Math.max(1, Math.floor(((scroller.current?.clientHeight ?? 0) - head) / rowHeight) - 1);
    const moves: Record<string, number> = {
      ArrowDown: at + 1,
      j: at + 1,
      ArrowUp: at - 1,
      k: at - 1,
      PageDown: at + page,
      PageUp: at - page,
    };
    const to = moves[event.key];
    if (to !== undefined) goTo(to);
    else if (event.key === "End") goTo(view.length - 1);
    else if (event.key === "Home") {
      toNewest();
      feed.hold("focus");
      goTo(0);
    } else if ((event.key === "Enter" || event.key === " ") && active) {
      if (active.kind === "event") onOpen(active.key);
      else onReload();
    } else return;
    event.preventDefault();
  };
  const onClick = (event: MouseEvent) => {
    const row = (event.target as Element).closest<HTMLElement>("tr[data-index]");
    const entry = row ? view.at(Number(row.dataset.index)) : undefined;
    // Whoever marks text does not want to open anything.
    if (!entry || getSelection()?.type === "Range") return;
    setActive(entry);
    if (entry.kind !== "event") return;
    if (event.ctrlKey || event.metaKey) open(eventPath(entry.agent, entry.timestamp, entry.id), "_blank", "noopener");
    else onOpen(entry.key);
  };
  const onFocus = () => {
    setHasFocus(true);
    feed.hold("focus");
    if (!active || view.indexOf(active) < 0) setActive(view.at(items[0]?.index ?? 0));
  };
  const onBlur = () => {
    setHasFocus(false);
    feed.release("focus");
  };
  const onPointerEnter = (event: PointerEvent) => {
    if (event.pointerType !== "touch" && !ignoresPointer.current) feed.hold("pointer");
  };
  const onPointerLeave = () => {
    ignoresPointer.current = false;
    feed.release("pointer");
  };

  // A list that is gone holds nothing.
  useEffect(
    () => () => {
      for (const holder of ["scroll", "pointer", "focus"] as const) feed.release(holder);
    },
    [feed],
  );

  // What was opened from elsewhere (the drawer's own keys) is brought into sight.
  useEffect(() => {
    const row = openKey === undefined ? undefined : feed.find(openKey);
    const index = row ? feed.view.indexOf(row) : -1;
    if (!row || index < 0) return;
    setActive(row);
    virtual.scrollToIndex(index, { align: "auto" });
  }, [openKey, feed, virtual]);

  const idOf = (entry: Entry) => `event-${entry.key}`;
  const isActiveInSight = hasFocus && active !== undefined && items.some((item) => view.at(item.index) === active);
  return (
    <div className="relative min-h-0 flex-1" onPointerEnter={onPointerEnter} onPointerLeave={onPointerLeave}>
      <NewEvents
        feed={feed}
        onShow={(isMouse) => {
          toNewest();
          // The button goes, and the focus must go somewhere.
          if (!isMouse) table.current?.focus({ preventScroll: true });
        }}
      />
      <div ref={scroller} onScroll={onScroll} className="h-full overflow-y-auto overflow-x-hidden [overflow-anchor:none]">
        <table
          ref={table}
          // biome-ignore lint/a11y/noNoninteractiveElementToInteractiveRole: a grid is what a table with rows to choose from is
          role="grid"
          aria-label="Events, newest first"
          aria-rowcount={session.isEnd ? view.length + 1 : -1}
          aria-activedescendant={isActiveInSight ? idOf(active) : undefined}
          tabIndex={0}
          onKeyDown={onKeyDown}
          onClick={onClick}
          onFocus={onFocus}
          onBlur={onBlur}
          className="w-full table-fixed border-separate border-spacing-0 outline-none"
        >
          <TableHead room={room} />
          <tbody>
            <Spacer height={before} />
            {items.map(({ index }) => {
              const entry = view.at(index);
              return (
                entry && (
                  <Line
                    key={entry.key}
                    id={idOf(entry)}
                    entry={entry}
                    index={index}
                    isActive={hasFocus && entry === active}
                    isOpen={entry.key === openKey}
                    room={room}
                    zone={zone}
                    onReload={onReload}
                  />
                )
              );
            })}
            <Spacer height={after} />
          </tbody>
        </table>
        <ListEnd feed={feed} session={session} zone={zone} />
      </div>
    </div>
  );
}
