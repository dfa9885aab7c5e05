/**
 * What the list shows: events of the history and of the stream, newest first, each once, 100,000 at most.
 *
 * Lives outside React, which is told at most four times a second. While somebody reads (or paused), what comes waits beside the
 * list, so that nothing moves under their eyes. Must not ask the server anything.
 */
import { throttle } from "@/lib/throttle.ts";
import { Rate } from "./rate.ts";
import { Ring } from "./ring.ts";
import type { Entry, EventRow, GapReason } from "./row.ts";

export const MOST_EVENTS = 100_000;
/** Between two repaints, ms. */
const PAINT_MS = 250;

/** Why the list stands still: its own pause, or what the viewer does in it. */
export type Holder = "pause" | "scroll" | "pointer" | "focus" | "detail";

export class EventFeed {
  /** Everything that fits the question put to the server. */
  readonly all: Ring<Entry>;
  /** What of it fits the whole filter. */
  readonly view: Ring<Entry>;
  readonly rate = new Rate();
  /** Events that wait and would be shown. */
  waitingCount = 0;
  /** Events that would be shown but had to go, as more waited than is kept. */
  waitingDropped = 0;

  private readonly waiting: Ring<Entry>;
  private readonly known = new Map<string, EventRow>();
  private readonly holders = new Set<Holder>();
  private readonly listeners = new Set<() => void>();
  private readonly painting: { call: () => void; cancel: () => void };
  private matches: (row: EventRow) => boolean = () => true;
  private version = 0;
  private gaps = 0;

  constructor(capacity = MOST_EVENTS, frame: (run: () => void) => void = (run) => void requestAnimationFrame(run)) {
    this.all = new Ring(capacity);
    this.view = new Ring(capacity);
    this.waiting = new Ring(capacity);
    this.painting = throttle(() => frame(this.paint), PAINT_MS);
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly getVersion = (): number => this.version;

  /** Tells at once; for what the viewer did. */
  readonly paint = (): void => {
    this.version++;
    for (const listener of this.listeners) listener();
  };

  get isPaused(): boolean {
    return this.holders.has("pause");
  }

  get isHeld(): boolean {
    return this.holders.size > 0;
  }

  /** Forgets everything but who holds the list. */
  clear(): void {
    this.all.clear();
    this.view.clear();
    this.known.clear();
    this.rate.clear();
    this.dropWaiting();
    this.paint();
  }

  setFilter(matches: (row: EventRow) => boolean): void {
    this.matches = matches;
    this.view.clear();
    for (const entry of this.all) if (this.isShown(entry)) this.view.pushOldest(entry);
    this.waitingCount = 0;
    for (const entry of this.waiting) if (entry.kind === "event" && matches(entry)) this.waitingCount++;
    this.paint();
  }

  find(key: string): EventRow | undefined {
    return this.known.get(key);
  }

  /** Takes an event of the stream. */
  receive(row: EventRow, now = Date.now()): void {
    // What an agent sent twice, or what the history had already.
    if (this.known.has(row.key)) return;
    if (this.matches(row)) this.rate.add(now);
    this.take(row);
    this.painting.call();
  }

  /** Notes that events are missing before the next one. */
  miss(count: number | null, isExact: boolean, reason: GapReason, at = Date.now()): void {
    const ring = this.isHeld ? this.waiting : this.all;
    const last = ring.newest;
    if (last?.kind === "gap" && last.reason === reason) {
      last.count = last.count === null || count === null ? null : last.count + count;
      last.isExact &&= isExact;
      last.at = at;
    } else this.take({ kind: "gap", key: `gap-${++this.gaps}`, count, isExact, reason, at });
    this.painting.call();
  }

  /** Adds older events, newest first, at the end. Answers how many of them are shown. */
  addOlder(rows: readonly EventRow[]): number {
    const before = this.view.length;
    for (const row of rows) {
      if (this.known.has(row.key)) continue;
      if (!this.all.pushOldest(row)) break;
      this.known.set(row.key, row);
      if (this.matches(row)) this.view.pushOldest(row);
    }
    this.paint();
    return this.view.length - before;
  }

  /**
   * Adds events that the stream did not bring, newest first, where they belong by their time. Where they are not `joined` to what
   * is there, events in between are missing. Answers how many were added.
   */
  addMissing(rows: readonly EventRow[], isJoined = true): number {
    if (!isJoined) this.miss(null, false, "interrupted");
    const oldest = this.all.oldest;
    let added = 0;
    for (const row of rows.toReversed()) {
      // What is older than all that is loaded comes with its page.
      if (this.known.has(row.key) || (oldest?.kind === "event" && row.timestamp < oldest.timestamp)) continue;
      if (this.isHeld || !isJoined) this.take(row);
      else this.insert(row);
      added++;
    }
    this.painting.call();
    return added;
  }

  hold(holder: Holder): void {
    if (this.holders.has(holder)) return;
    this.holders.add(holder);
    this.paint();
  }

  release(holder: Holder): void {
    if (!this.holders.delete(holder)) return;
    this.flush();
    this.paint();
  }

  /** Shows what waits whatever the viewer does in the list; a pause stays. */
  catchUp(): void {
    for (const holder of [...this.holders]) if (holder !== "pause") this.holders.delete(holder);
    this.flush();
    this.paint();
  }

  private take(entry: Entry): void {
    if (this.isHeld) this.wait(entry);
    else this.show(entry);
  }

  private show(entry: Entry): void {
    if (entry.kind === "event") this.known.set(entry.key, entry);
    const dropped = this.all.pushNewest(entry);
    if (dropped) this.forget(dropped);
    if (this.isShown(entry)) this.view.pushNewest(entry);
  }

  private wait(entry: Entry): void {
    if (entry.kind === "event") {
      this.known.set(entry.key, entry);
      if (this.matches(entry)) this.waitingCount++;
    }
    const dropped = this.waiting.pushNewest(entry);
    if (!dropped) return;
    if (dropped.kind === "gap") this.waitingDropped += dropped.count ?? 0;
    else {
      this.known.delete(dropped.key);
      if (!this.matches(dropped)) return;
      this.waitingCount--;
      this.waitingDropped++;
    }
  }

  private flush(): void {
    if (this.isHeld) return;
    const dropped = this.waitingDropped;
    const rows = [...this.waiting].reverse();
    this.dropWaiting();
    if (dropped > 0) this.miss(dropped, true, "waited");
    for (const entry of rows) this.show(entry);
  }

  private dropWaiting(): void {
    this.waiting.clear();
    this.waitingCount = 0;
    this.waitingDropped = 0;
  }

  private insert(row: EventRow): void {
    const dropped = this.all.insert(placeOf(this.all, row), row);
    if (dropped === row) return;
    this.known.set(row.key, row);
    if (dropped) this.forget(dropped);
    if (this.matches(row)) this.view.insert(placeOf(this.view, row), row);
  }

  private forget(dropped: Entry): void {
    if (dropped.kind === "event") this.known.delete(dropped.key);
    if (this.view.oldest === dropped) this.view.dropOldest();
  }

  private isShown(entry: Entry): boolean {
    return entry.kind === "gap" || this.matches(entry);
  }
}

/** Where the event belongs by its time. */
function placeOf(ring: Ring<Entry>, row: EventRow): number {
  let index = 0;
  for (; index < ring.length; index++) {
    const entry = ring.at(index);
    if (entry?.kind === "event" && entry.timestamp <= row.timestamp) break;
  }
  return index;
}
