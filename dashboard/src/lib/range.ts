/** Time ranges: what the URL says, and what is asked of the API for it. */

export const PRESETS = ["1h", "24h", "7d", "30d"] as const;
export type Preset = (typeof PRESETS)[number];

export const PRESET_LABELS: Record<Preset, string> = {
  "1h": "Last hour",
  "24h": "Last 24 hours",
  "7d": "Last 7 days",
  "30d": "Last 30 days",
};

/** A preset that moves with the clock, or two fixed times (ms). */
export type Range = { preset: Preset } | { from: number; to: number };

export type Interval = "5m" | "hour" | "day";

/** A range at one moment: whole intervals from `start`, up to `end`. */
export interface Span {
  /** ms. */
  start: number;
  /** ms. */
  end: number;
  /** Width of a point of its charts. */
  interval: Interval;
  /** Whether it ends now, so that new events fall into it. */
  isLive: boolean;
}

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
/** What the API takes at most, in days. */
export const MOST_DAYS = 400;

export const INTERVAL_MS: Record<Interval, number> = { "5m": 5 * MINUTE, hour: HOUR, day: DAY };

const LENGTHS: Record<Exclude<Preset, "30d">, number> = { "1h": HOUR, "24h": DAY, "7d": 7 * DAY };

/** The range as of `now`. */
export function spanOf(range: Range, now: number): Span {
  if (!("preset" in range)) {
    const interval = intervalFor(range.to - range.from);
    const width = INTERVAL_MS[interval];
    return { start: Math.floor(range.from / width) * width, end: range.to, interval, isLive: range.to >= now };
  }
  // Days are UTC days everywhere, so 30 days are today and the 29 before.
  if (range.preset === "30d") return { start: Math.floor(now / DAY) * DAY - 29 * DAY, end: now, interval: "day", isLive: true };
  const length = LENGTHS[range.preset];
  const interval = intervalFor(length);
  const width = INTERVAL_MS[interval];
  return { start: Math.floor((now - length) / width) * width, end: now, interval, isLive: true };
}

/** Wide enough that a chart has at most about 200 points, and within what the API has (31 days by hour, 2 by five minutes). */
export function intervalFor(length: number): Interval {
  if (length <= 13 * HOUR) return "5m";
  if (length <= 8 * DAY) return "hour";
  return "day";
}

/** `2026-11-26T10:00:00.000Z`, as the API takes it. */
export function isoTime(time: number): string {
  return new Date(time).toISOString();
}

/** `2026-11-26`, the UTC day. */
export function isoDay(time: number): string {
  return isoTime(time).slice(0, 10);
}

/** First and last moment as the API's series take them: both belong to the range. */
export function spanParameters(span: Span): { start_date: string; end_date: string } {
  if (span.interval === "day") return dayParameters(span);
  return { start_date: isoTime(span.start), end_date: isoTime(span.end - 1) };
}

/** Start and end as times, whatever the interval. */
export function timeParameters(span: Span): { start_date: string; end_date: string } {
  return { start_date: isoTime(span.start), end_date: isoTime(span.end) };
}

/** The UTC days that the range touches. */
export function dayParameters(span: Span): { start_date: string; end_date: string } {
  return { start_date: isoDay(span.start), end_date: isoDay(span.end - 1) };
}

/** Names a range so that equal ranges share their answers. */
export function rangeKey(range: Range): string {
  return "preset" in range ? range.preset : `${range.from}-${range.to}`;
}
