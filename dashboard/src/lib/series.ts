/** What the API says over time, as charts and tables take it. */
import type { SeriesAnswer, SeriesPoint } from "@/api/generated.ts";
import type { Table } from "./csv.ts";

/** One point per interval; its time is when the interval begins, ms. */
export function pointsOf<T extends Record<string, number | null>>(
  items: readonly SeriesPoint[],
  values: (item: SeriesPoint, index: number) => T,
): (T & { t: number })[] {
  return items.map((item, i) => ({ t: Date.parse(item.date), ...values(item, i) }));
}

/** A column for the time and one per value. */
export function seriesTable(data: SeriesAnswer, columns: Record<string, (point: SeriesPoint) => number | null>): Table {
  const values = Object.values(columns);
  return {
    columns: [data.interval === "day" ? "Day (UTC)" : "Time (UTC)", ...Object.keys(columns)],
    rows: data.items.map((item) => [item.date, ...values.map((value) => value(item))]),
  };
}
