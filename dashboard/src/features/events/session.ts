/**
 * Fills the feed for one question: the stream first, then the newest of the history, then older pages as they are wanted.
 *
 * Nothing may fall between history and stream: an event that was accepted just before the stream opened is in neither until it is
 * stored, so the history around that moment is read again a little later, of agents too that were not known before.
 */

import type { QueryClient } from "@tanstack/react-query";
import type { LiveClient, Missed } from "@/api/live.ts";
import { eventsPageQuery } from "@/api/queries.ts";
import { now } from "@/lib/clock.ts";
import { throttle } from "@/lib/throttle.ts";
import type { EventFeed } from "./feed.ts";
import { HistoryReader } from "./history.ts";
import type { HistorySource, Plan } from "./plan.ts";
import { type EventRow, rowOf } from "./row.ts";

/** Events of a page; more where the browser looks through them. */
const PAGE = 200;
const LARGE_PAGE = 1_000;
/** Longest wait for the stream before the history is read. */
const STREAM_WAIT_MS = 700;
/** When the history around the opening is read again: events are stored within a second as a rule, a minute at worst. */
const FILL_AFTER_MS = [2_000, 10_000, 65_000];
/** Around the opening, at least so much is read again before and after, ms. */
const AROUND_MS = 1_000;
/** Most pages of it, where events come fast and are stored late. */
const MOST_FILL_PAGES = 20;
/** Between two readings of the newest page while the stream is broken. */
const FILL_EVERY_MS = 1_000;
/** Pages that are loaded without being asked for while too little fits to fill the list. */
export const MOST_IDLE_PAGES = 5;

/** The parts of a plan and a range that a session is for. */
export interface SessionQuestion extends Pick<Plan, "sources" | "streamedSources" | "stream"> {
  /** ISO times; no end for "up to now". */
  start: string;
  end: string | undefined;
  isLive: boolean;
}

export type SessionPhase = "loading" | "ready" | "failed";

export class Session {
  phase: SessionPhase = "loading";
  isLoadingOlder = false;
  /** Why the last page could not be loaded. */
  error: Error | null = null;
  /** Pages loaded since the viewer did something. */
  idlePages = 0;
  /** Whether the browser looks through what is loaded; then more is loaded at once. */
  isFilteredHere = false;

  private readonly reader: HistoryReader;
  private readonly timers: ReturnType<typeof setTimeout>[] = [];
  private isEnded = false;

  constructor(
    private readonly feed: EventFeed,
    private readonly question: SessionQuestion,
    private readonly client: QueryClient,
    private readonly live: LiveClient,
  ) {
    this.reader = this.readerOf(question.sources, question.end);
  }

  get isEnd(): boolean {
    return this.reader.isEnd;
  }

  get completeFrom(): string | null {
    return this.reader.completeFrom;
  }

  get isLive(): boolean {
    return this.question.isLive;
  }

  /** Answers how to end it. */
  start(): () => void {
    const { stream, isLive } = this.question;
    const ends: (() => void)[] = [];
    if (isLive && stream) {
      ends.push(
        this.live.watchEvents({
          parameters: stream,
          onEvent: (event) => this.feed.receive(rowOf(event)),
          onMissed: (missed) => this.missed(missed),
        }),
      );
      const fill = throttle(() => void this.fill(), FILL_EVERY_MS);
      ends.push(
        fill.cancel,
        this.live.onChange((changed) => {
          if (changed === null) fill.call();
        }),
      );
    }
    void this.open();
    return () => {
      this.isEnded = true;
      for (const end of ends) end();
      for (const timer of this.timers) clearTimeout(timer);
    };
  }

  /** The next older page. */
  async loadOlder(): Promise<void> {
    if (this.isLoadingOlder || this.isEnd || this.feed.all.isFull) return;
    this.isLoadingOlder = true;
    this.error = null;
    this.feed.paint();
    try {
      const events = await this.reader.next(this.isFilteredHere ? LARGE_PAGE : PAGE);
      if (this.isEnded) return;
      this.idlePages++;
      this.phase = "ready";
      this.isLoadingOlder = false;
      this.feed.addOlder(events.map(rowOf));
    } catch (error) {
      if (this.isEnded) return;
      this.error = error instanceof Error ? error : new Error(String(error));
      this.phase = this.phase === "loading" ? "failed" : this.phase;
      this.isLoadingOlder = false;
      this.feed.paint();
    }
  }

  /** Tries the first page again. */
  retry(): void {
    if (this.phase === "failed") this.phase = "loading";
    void this.loadOlder();
  }

  private async open(): Promise<void> {
    const isStreamed = this.question.isLive && this.question.stream !== null;
    if (isStreamed) await this.streamOpens();
    if (this.isEnded) return;
    const openedAt = now();
    // A session without a possible source is ready at once.
    if (this.isEnd) {
      this.phase = "ready";
      this.feed.paint();
    }
    await this.loadOlder();
    if (this.isEnded || !isStreamed) return;
    this.fillLater(openedAt);
  }

  /** Reads the newest page, for what the stream may have left out. */
  private async fill(): Promise<void> {
    await this.streamOpens();
    if (this.isEnded || this.phase !== "ready") return;
    const openedAt = now();
    const rows = await this.rowsOf(this.readerOf(this.question.streamedSources, this.question.end));
    const isJoined = this.feed.all.length === 0 || rows.some((row) => this.feed.find(row.key));
    this.feed.addMissing(rows, isJoined);
    this.fillLater(openedAt);
  }

  /** Plans to look again for what was not stored yet when the stream opened at `time` (ms). */
  private fillLater(time: number): void {
    if (this.isEnded) return;
    for (const timer of this.timers.splice(0)) clearTimeout(timer);
    for (const ms of FILL_AFTER_MS) this.timers.push(setTimeout(() => void this.fillAround(time), ms));
  }

  /** Reads the events around `time` (ms) again, as far back as some were missing. */
  private async fillAround(time: number): Promise<void> {
    if (this.phase !== "ready") return;
    const reader = this.readerOf(this.question.streamedSources, new Date(time + AROUND_MS).toISOString());
    const enough = new Date(time - AROUND_MS).toISOString();
    for (let page = 0; page < MOST_FILL_PAGES; page++) {
      const rows = await this.rowsOf(reader);
      const oldest = rows.at(-1);
      const added = this.feed.addMissing(rows);
      if (!oldest || reader.isEnd || (added === 0 && oldest.timestamp < enough)) return;
    }
  }

  /** A page; none where it cannot be read or is no longer wanted. */
  private async rowsOf(reader: HistoryReader): Promise<EventRow[]> {
    const events = await reader.next(LARGE_PAGE).catch(() => []);
    return this.isEnded ? [] : events.map(rowOf);
  }

  /** Until the stream says that it is open, or will not for now. */
  private streamOpens(): Promise<void> {
    const since = Date.now();
    return new Promise((resolve) => {
      const check = () => {
        const { mode, updatedAt } = this.live.getState();
        const isOpen = mode === "live" && updatedAt !== null && updatedAt >= since;
        if (isOpen || mode === "paused" || mode === "polling") done();
      };
      const timer = setTimeout(() => done(), STREAM_WAIT_MS);
      const stop = this.live.subscribe(check);
      const done = () => {
        clearTimeout(timer);
        stop();
        resolve();
      };
      check();
    });
  }

  private missed({ count, is_exact: isExact, reason }: Missed): void {
    this.feed.miss(count, isExact, reason === "slow" ? "slow" : "interrupted");
  }

  private readerOf(sources: readonly HistorySource[], end: string | undefined): HistoryReader {
    const { start } = this.question;
    return new HistoryReader(sources, (source, cursor, limit) =>
      this.client.fetchQuery(eventsPageQuery({ ...source, start_date: start, end_date: end, cursor, limit })),
    );
  }
}
