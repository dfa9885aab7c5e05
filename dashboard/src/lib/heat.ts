/** Hours laid out by day and hour of the day, and the steps of a colour scale. Pure; summer time is minded. */
import type { Zone } from "./format.ts";
import { DAY, HOUR } from "./range.ts";

/** What one hour has. */
export interface HourValue {
  /** When it begins, ms. */
  t: number;
  /** null where there is none. */
  value: number | null;
  /** What the value was made of. */
  count: number;
}

/** One hour of the clock on one day. */
export interface HeatCell {
  /** Mostly one. Two where the clocks went back; none outside the range, and where the clocks went forward. */
  hours: readonly HourValue[];
  /** The largest value; null where there is none. */
  value: number | null;
  /** Whether this day has no such hour, as the clocks went forward. */
  isSkipped: boolean;
}

export interface HeatDay {
  /** When its first hour begins, ms. */
  t: number;
  /** By hour of the clock, 24 of them. */
  cells: readonly HeatCell[];
}

const HOURS_OF_DAY = 24;

/** The zone's name as `Intl` takes it; the browser's where undefined. */
export function timeZoneOf(zone: Zone): string | undefined {
  return zone === "utc" ? "UTC" : undefined;
}

/** Lays hours that follow each other out by day and hour of the clock. An hour belongs to the clock's hour in which it begins. */
export function heatDays(hours: readonly HourValue[], timeZone: string | undefined): HeatDay[] {
  const clock = new Intl.DateTimeFormat("en-CA", {
    timeZone,
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    hour: "2-digit",
    hourCycle: "h23",
  });
  const days = new Map<string, HourValue[][]>();
  for (const hour of hours) {
    const parts = Object.fromEntries(clock.formatToParts(hour.t).map(({ type, value }) => [type, value]));
    const name = `${parts.year}-${parts.month}-${parts.day}`;
    let day = days.get(name);
    if (!day) {
      day = Array.from({ length: HOURS_OF_DAY }, () => []);
      days.set(name, day);
    }
    day[Number(parts.hour)]?.push(hour);
  }
  return [...days.values()].map((day) => {
    const first = day.findIndex((each) => each.length > 0);
    const last = day.findLastIndex((each) => each.length > 0);
    const cells = day.map((each, i) => {
      const values = each.map((hour) => hour.value).filter((value) => value !== null);
      const isSkipped = each.length === 0 && i > first && i < last;
      return { hours: each, value: values.length > 0 ? Math.max(...values) : null, isSkipped };
    });
    return { t: day[first]?.[0]?.t ?? 0, cells };
  });
}

/** What the API answers by hour at most. */
const MOST_MS = 31 * DAY;
const WEEK_DAYS = 7;

/** The days to show by hour for a range: a week for all that is no longer, else the whole range up to its last 31 days. */
export function hourSpan(span: { start: number; end: number }, now: number, zone: Zone): { start: number; end: number } {
  const end = Math.min(span.end, now);
  // A range of seven days begins with a whole hour, so it may be a little longer.
  if (span.end - span.start <= WEEK_DAYS * DAY + HOUR) {
    const thisWeek = startOfDay(now, zone, 1 - WEEK_DAYS);
    if (span.start >= thisWeek || span.end >= now) return { start: thisWeek, end: now };
    const last = span.end - 1;
    return { start: startOfDay(last, zone, 1 - WEEK_DAYS), end: Math.min(startOfDay(last, zone, 1), now) };
  }
  let start = startOfDay(span.start, zone, 0);
  if (end - start > MOST_MS) start = startOfDay(end - 1, zone, -30);
  // A day of 25 hours makes 31 days too long.
  return { start: Math.max(start, end - MOST_MS), end };
}

/** Midnight of the zone at the beginning of the day of `t`, or so many days later. */
function startOfDay(t: number, zone: Zone, days: number): number {
  if (zone === "utc") return Math.floor(t / DAY) * DAY + days * DAY;
  const date = new Date(t);
  return new Date(date.getFullYear(), date.getMonth(), date.getDate() + days).getTime();
}

/** Values at which a scale takes its next step, ascending. A scale has one step more than this. */
export type HeatScale = readonly number[];

export const HEAT_STEPS = 6;
/** Where all values are about the same, the scale still spans this factor, so that small differences look small. */
const LEAST_SPREAD = 4;
/** Of 100 values so many on either side do not stretch the scale. */
const OUTLIERS = 0.02;

/** Steps of equal ratio over the values: what takes twice as long is as many steps higher, wherever it begins. */
export function heatScale(values: readonly number[]): HeatScale {
  const sorted = values.filter((value) => value > 0).sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.round(share * (sorted.length - 1))] ?? 0;
  let [low, high] = [at(OUTLIERS), at(1 - OUTLIERS)];
  if (low === 0) return [];
  if (high / low < LEAST_SPREAD) {
    const middle = Math.sqrt(low * high);
    [low, high] = [middle / Math.sqrt(LEAST_SPREAD), middle * Math.sqrt(LEAST_SPREAD)];
  }
  const ratio = (high / low) ** (1 / HEAT_STEPS);
  return Array.from({ length: HEAT_STEPS - 1 }, (_, i) => Number((low * ratio ** (i + 1)).toPrecision(2)));
}

/** Which step a value is on, from 0. */
export function heatStep(scale: HeatScale, value: number): number {
  return scale.filter((threshold) => value >= threshold).length;
}
