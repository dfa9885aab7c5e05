import { formatTime } from "./format.ts";

/** `today (UTC)`, `26 Nov (UTC)`, `20 – 26 Nov (UTC)`: days as the API counts them. */
export function daysText(first: string, last: string): string {
  const today = new Date().toISOString().slice(0, 10);
  if (first === last) return first === today ? "today (UTC)" : `${formatTime(first, "utc", "day")} (UTC)`;
  return `${formatTime(first, "utc", "day")} – ${formatTime(last, "utc", "day")} (UTC)`;
}
