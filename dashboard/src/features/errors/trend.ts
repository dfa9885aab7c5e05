/** How the errors of a group came over time. Pure. */
import type { ErrorsAnswer } from "@/api/generated.ts";
import { formatDuration, formatInteger, formatTime, type Zone } from "@/lib/format.ts";

export interface Trend {
  /** When the first interval begins, ms. */
  start: number;
  /** Length of an interval, ms. */
  interval: number;
  counts: readonly number[];
}

export function trendOf(answer: Pick<ErrorsAnswer, "trend_start" | "trend_interval_s">, counts: readonly number[]): Trend {
  return { start: Date.parse(answer.trend_start), interval: answer.trend_interval_s * 1000, counts };
}

/** The trend in words: `most 12 at 26 Nov, 10:00, 3 in the newest 30 min`. */
export function trendText({ start, interval, counts }: Trend, zone: Zone): string {
  const most = Math.max(...counts, 0);
  if (most === 0) return "none";
  const at = start + counts.indexOf(most) * interval;
  return `most ${formatInteger(most)} at ${formatTime(at, zone)}, ${formatInteger(counts.at(-1) ?? 0)} in the newest ${formatDuration(interval / 1000)}`;
}

/** Rows of a table: only intervals with errors, newest first. */
export function trendRows({ start, interval, counts }: Trend): { at: number; count: number }[] {
  return counts
    .map((count, i) => ({ at: start + i * interval, count }))
    .filter(({ count }) => count > 0)
    .reverse();
}
