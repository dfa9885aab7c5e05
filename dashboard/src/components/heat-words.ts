/** What a heatmap shows, in words. Pure. */
import { formatExact, formatTime } from "@/lib/format.ts";
import { HOUR } from "@/lib/range.ts";
import type { HeatmapProps } from "./heatmap.tsx";

type Said = Pick<HeatmapProps, "days" | "unit" | "zone" | "valueTitle" | "countTitle">;

/** `Thu 26 Nov, 10:00–11:00` and `p95 842.5 ms of 12 response times`. */
export function cellWords(said: Said, row: number, column: number): { when: string; what: string } | null {
  const { days, unit, zone, valueTitle, countTitle } = said;
  const day = days[row];
  const cell = day?.cells[column];
  if (!day || !cell) return null;
  const date = formatTime(day.t, zone, "weekday");
  const clock = `${date}, ${String(column).padStart(2, "0")}:00`;
  const [first, last] = [cell.hours[0], cell.hours.at(-1)];
  if (!first || !last)
    return { when: clock, what: cell.isSkipped ? "no such hour: the clocks went forward" : "not in the range" };
  const values = cell.hours.map(({ value, count }) =>
    value === null ? `no ${countTitle}` : `${valueTitle} ${formatExact(value, unit)} of ${formatExact(count)} ${countTitle}`,
  );
  return {
    when: `${date}, ${formatTime(first.t, zone, "clock")}–${formatTime(last.t + HOUR, zone, "clock")}`,
    what: values.length > 1 ? `twice, as the clocks went back: ${values.join(", then ")}` : (values[0] ?? ""),
  };
}

export function heatSummary({ days, unit, zone, valueTitle, countTitle }: Said): string {
  const known = days
    .flatMap((day) => day.cells.flatMap((cell) => cell.hours))
    .filter((hour): hour is typeof hour & { value: number } => hour.value !== null)
    .sort((a, b) => a.value - b.value);
  const [low, middle, high] = [known[0], known[Math.floor(known.length / 2)], known.at(-1)];
  if (!low || !middle || !high) return `No ${countTitle}.`;
  const told = (hour: typeof low) => `${formatExact(hour.value, unit)} in the hour from ${formatTime(hour.t, zone)}`;
  return `${valueTitle} of ${known.length} hours with ${countTitle}: highest ${told(high)}, lowest ${told(low)}, in the middle ${formatExact(middle.value, unit)}. Hours are those of ${zone === "utc" ? "UTC" : "your clock"}.`;
}
