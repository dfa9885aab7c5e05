/** Reads stored events backwards, of one question or of several at once, always in the order of their times. */
import type { Event, EventsAnswer } from "@/api/generated.ts";
import type { HistorySource } from "./plan.ts";

export type AskPage = (source: HistorySource, cursor: string | undefined, limit: number) => Promise<EventsAnswer>;

interface SourceState {
  source: HistorySource;
  cursor: string | undefined;
  /** Read and not yet handed on, newest first. */
  items: Event[];
  isDone: boolean;
}

/** Pages without an event that are read in one go where the server looks through many that do not fit. */
const MOST_EMPTY_ROUNDS = 8;
const LEAST_PAGE = 50;

export class HistoryReader {
  /** Set where the server can only say for a part of the range what all agents did: from then on it is complete. */
  completeFrom: string | null = null;
  private readonly states: SourceState[];
  private readonly ask: AskPage;
  /** Merged and not yet handed on. */
  private pending: Event[] = [];

  constructor(sources: readonly HistorySource[], ask: AskPage) {
    this.states = sources.map((source) => ({ source, cursor: undefined, items: [], isDone: false }));
    this.ask = ask;
  }

  /** Whether everything was handed on. */
  get isEnd(): boolean {
    return this.pending.length === 0 && this.states.every((state) => state.isDone && state.items.length === 0);
  }

  /** The next `count` events, fewer at the end or where little fits. A failed call can be made again and loses nothing. */
  async next(count: number): Promise<Event[]> {
    const limit = Math.min(count, Math.max(LEAST_PAGE, Math.ceil((2 * count) / Math.max(1, this.states.length))));
    let emptyRounds = 0;
    while (this.pending.length < count && emptyRounds < MOST_EMPTY_ROUNDS) {
      const wanting = this.states.filter((state) => state.items.length === 0 && !state.isDone);
      if (wanting.length > 0) {
        // Those that answered keep what they got where another fails.
        const results = await Promise.allSettled(wanting.map((state) => this.read(state, limit)));
        const failed = results.find((result) => result.status === "rejected");
        if (failed) throw failed.reason;
        emptyRounds = wanting.some((state) => state.items.length > 0) ? 0 : emptyRounds + 1;
        continue;
      }
      const item = this.newest()?.items.shift();
      if (!item) break;
      this.pending.push(item);
    }
    const found = this.pending;
    this.pending = [];
    return found;
  }

  private async read(state: SourceState, limit: number): Promise<void> {
    const page = await this.ask(state.source, state.cursor, limit);
    state.items = [...page.items];
    state.cursor = page.next_key ?? undefined;
    state.isDone = page.next_key === null;
    const from = page.scope?.complete_from ?? null;
    if (from === null || state.isDone) return;
    // Further back the server refuses: agents that it did not look at may have events there.
    const oldest = page.items.at(-1)?.timestamp;
    if (oldest === undefined || oldest <= from) {
      state.isDone = true;
      this.completeFrom = from;
    }
  }

  private newest(): SourceState | undefined {
    let newest: SourceState | undefined;
    for (const state of this.states) {
      const time = state.items[0]?.timestamp;
      if (time !== undefined && (newest?.items[0] === undefined || time > newest.items[0].timestamp)) newest = state;
    }
    return newest;
  }
}
