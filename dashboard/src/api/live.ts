/**
 * The one stream of a tab: changed totals, and raw events while a page wants them.
 *
 * Browsers open six connections to a host, so each tab has a single EventSource, and a hidden tab none. Where the stream
 * breaks the page asks every 30 seconds until it is back. Must not keep any number of its own.
 */
import { now } from "@/lib/clock.ts";
import { API_BASE } from "./http.ts";

export type LiveMode =
  /** The first message has not come yet. */
  | "connecting"
  | "live"
  /** The viewer stopped it. */
  | "paused"
  /** The stream is broken; numbers are asked for every 30 s. */
  | "polling";

export interface LiveState {
  mode: LiveMode;
  /** How far the newest message was behind when it came, ms; null before the first. */
  behindMs: number | null;
  /** When the page last heard of the server or asked it, ms. */
  updatedAt: number | null;
  /** Whether the server has read all totals; until then the numbers of agents may be too low. */
  isCaughtUp: boolean;
}

/** Numbers of one agent and UTC day, or of all agents (`*`). */
export interface LiveTotals {
  agent_id: string;
  date: string;
  version: number;
  calls: number;
  total_errors: number;
}

export interface TotalsChanged {
  as_of: string;
  is_caught_up: boolean;
  agents: LiveTotals[];
  fleet?: LiveTotals[];
}

/** A raw event as it was accepted; fields that it does not have are absent. */
export interface StreamedEvent {
  agent_id: string;
  event_id: string;
  timestamp: string;
  message_type: string;
  [field: string]: unknown;
}

export interface Missed {
  count: number | null;
  is_exact: boolean;
  of: "events" | "totals";
  reason: string;
}

interface Heartbeat {
  as_of: string;
  is_caught_up: boolean;
  events: "off" | "live" | "interrupted";
}

/** Who wants raw events, and which. */
export interface EventsWish {
  /** Parameters of the stream: `message_type`, `min_response_time_ms`, … */
  parameters: Record<string, string>;
  onEvent: (event: StreamedEvent) => void;
  onMissed: (missed: Missed) => void;
}

/** Between two questions while the stream is broken. */
export const POLL_MS = 30_000;
/** A closed stream is tried again after this, then after twice as long, at most every 30 s. */
const FIRST_RETRY_MS = 2_000;
/** A page that waits longer for its stream may have missed what it counts on. */
const LATE_MS = 500;
/** No heartbeat for so long (the server sends one every 15 s) means that the line is dead. */
const SILENCE_MS = 40_000;

export class LiveClient {
  private state: LiveState = { mode: "connecting", behindMs: null, updatedAt: null, isCaughtUp: false };
  private readonly listeners = new Set<() => void>();
  private readonly changes = new Set<(changed: TotalsChanged | null) => void>();
  private source: EventSource | undefined;
  private lastId: string | undefined;
  private agents: readonly string[] = [];
  private wish: EventsWish | undefined;
  private isPaused = false;
  private isStarted = false;
  private isAllowed = false;
  private retryMs = FIRST_RETRY_MS;
  /** Since when what is asked has no stream that would tell of changes. */
  private blindSince = 0;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private poll: ReturnType<typeof setInterval> | undefined;
  private silence: ReturnType<typeof setTimeout> | undefined;

  /** Opens the stream as soon as it is allowed; answers how to end it. */
  start(): () => void {
    this.isStarted = true;
    this.blindSince = performance.now();
    const onVisibility = () => (document.hidden ? this.close() : this.open(true));
    document.addEventListener("visibilitychange", onVisibility);
    this.open(false);
    return () => {
      this.isStarted = false;
      document.removeEventListener("visibilitychange", onVisibility);
      this.close();
    };
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly getState = (): LiveState => this.state;

  /** Tells what changed; null where that is not known and everything should be asked for again. */
  onChange(listener: (changed: TotalsChanged | null) => void): () => void {
    this.changes.add(listener);
    return () => this.changes.delete(listener);
  }

  /** Whether this browser may read: a stream would be refused before. */
  setAllowed(isAllowed: boolean): void {
    if (isAllowed === this.isAllowed) return;
    this.isAllowed = isAllowed;
    if (isAllowed) this.open(false);
    else {
      this.close();
      this.retryMs = FIRST_RETRY_MS;
      if (!this.isPaused) this.set({ mode: "connecting" });
    }
  }

  setPaused(isPaused: boolean): void {
    if (isPaused === this.isPaused) return;
    this.isPaused = isPaused;
    if (isPaused) {
      this.close();
      this.set({ mode: "paused" });
    } else {
      this.set({ mode: "connecting" });
      this.open(true);
    }
  }

  /** Follows only these agents; all where none is named. */
  setAgents(agents: readonly string[]): void {
    if (agents.join() === this.agents.join()) return;
    this.agents = agents;
    this.reopen();
  }

  /** Asks for raw events too; answers how to stop. A paused page gets none. */
  watchEvents(wish: EventsWish): () => void {
    this.wish = wish;
    this.reopen();
    return () => {
      if (this.wish !== wish) return;
      this.wish = undefined;
      this.reopen();
    };
  }

  private reopen(): void {
    // A place in one stream says nothing about another with other filters.
    this.lastId = undefined;
    if (this.source || this.retry) {
      this.close();
      this.open(false);
    }
  }

  /** `isReturn`: time has passed unseen, so what is shown may be old. */
  private open(isReturn: boolean): void {
    if (!this.isStarted || !this.isAllowed || this.isPaused || this.source || document.hidden) return;
    clearTimeout(this.retry);
    this.retry = undefined;
    const parameters = new URLSearchParams();
    if (this.agents.length > 0) parameters.set("agents", this.agents.join(","));
    if (this.wish) {
      parameters.set("events", "true");
      for (const [name, value] of Object.entries(this.wish.parameters)) parameters.set(name, value);
    }
    if (this.lastId) parameters.set("last_event_id", this.lastId);
    const source = new EventSource(`${API_BASE}/api/v1/stream?${parameters}`, { withCredentials: API_BASE !== "" });
    this.source = source;
    const on = <T>(name: string, handle: (data: T) => void) => {
      source.addEventListener(name, (message: MessageEvent<string>) => {
        this.lastId = message.lastEventId || this.lastId;
        this.watchSilence();
        handle(JSON.parse(message.data) as T);
      });
    };
    on<Heartbeat>("heartbeat", (heartbeat) => this.heard(heartbeat));
    on<TotalsChanged>("totals", (changed) => {
      this.heard(changed);
      for (const listener of this.changes) listener(changed);
    });
    on<StreamedEvent>("event", (event) => this.wish?.onEvent(event));
    on<Missed>("missed", (missed) => {
      if (missed.of === "events") this.wish?.onMissed(missed);
      else this.changed();
    });
    source.onerror = () => this.broke();
    this.watchSilence();
    if (!isReturn) return;
    this.blindSince = performance.now();
    this.changed();
  }

  private heard(message: { as_of: string; is_caught_up: boolean }): void {
    const at = now();
    // What happened before the stream was there is asked for, unless it was there as good as at once.
    const isLate = this.state.mode === "connecting" && performance.now() - this.blindSince > LATE_MS;
    const isBack = this.state.mode === "polling" || isLate;
    this.retryMs = FIRST_RETRY_MS;
    clearInterval(this.poll);
    this.poll = undefined;
    const behindMs = Math.max(0, at - Date.parse(message.as_of));
    this.set({ mode: "live", behindMs, updatedAt: at, isCaughtUp: message.is_caught_up });
    if (isBack) this.changed();
  }

  /** EventSource tries again by itself, but not after a refusal; so we do it for both. */
  private broke(): void {
    this.source?.close();
    this.source = undefined;
    clearTimeout(this.silence);
    if (!this.isStarted || this.isPaused || document.hidden) return;
    this.set({ mode: "polling" });
    this.poll ??= setInterval(() => this.changed(), POLL_MS);
    clearTimeout(this.retry);
    this.retry = setTimeout(() => {
      this.retry = undefined;
      this.open(false);
    }, this.retryMs);
    this.retryMs = Math.min(this.retryMs * 2, POLL_MS);
  }

  private watchSilence(): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.broke(), SILENCE_MS);
  }

  private close(): void {
    this.source?.close();
    this.source = undefined;
    clearTimeout(this.retry);
    clearTimeout(this.silence);
    clearInterval(this.poll);
    this.retry = undefined;
    this.poll = undefined;
  }

  private changed(): void {
    this.set({ updatedAt: now() });
    for (const listener of this.changes) listener(null);
  }

  private set(change: Partial<LiveState>): void {
    this.state = { ...this.state, ...change };
    for (const listener of this.listeners) listener();
  }
}
