/** Where a time axis has its ticks: at full hours and midnights of the zone that is shown. */
import { formatTime, type Zone } from "./format.ts";
import { DAY, HOUR, MINUTE } from "./range.ts";

/** Widths between ticks, smallest first. */
const STEPS = [
  5 * MINUTE,
  10 * MINUTE,
  15 * MINUTE,
  30 * MINUTE,
  HOUR,
  2 * HOUR,
  3 * HOUR,
  4 * HOUR,
  6 * HOUR,
  12 * HOUR,
  DAY,
  2 * DAY,
  5 * DAY,
  7 * DAY,
  14 * DAY,
  30 * DAY,
  60 * DAY,
];
const MOST_TICKS = 7;

/** Times (ms) of at most seven ticks from `first` to `last`. */
export function ticksOf(first: number, last: number, zone: Zone): number[] {
  const step = STEPS.find((s) => (last - first) / s <= MOST_TICKS) ?? 90 * DAY;
  const ticks: number[] = [];
  // Summer time moves midnight, so each tick is put right by the offset at its own time.
  let t = Math.ceil((first + offset(first, zone)) / step) * step;
  for (; ; t += step) {
    const at = t - offset(t - offset(t, zone), zone);
    if (at > last) break;
    if (at >= first) ticks.push(at);
  }
  return ticks;
}

export function tickLabel(t: number, first: number, last: number, zone: Zone): string {
  const isMidnight = (t + offset(t, zone)) % DAY === 0;
  const isByDay = isMidnight || last - first > 9 * DAY;
  return formatTime(t, zone, isByDay ? "day" : "clock");
}

/** What is added to UTC, ms. */
function offset(t: number, zone: Zone): number {
  return zone === "utc" ? 0 : -new Date(t).getTimezoneOffset() * MINUTE;
}
