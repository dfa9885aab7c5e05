import { formatDuration, formatTime, type Zone } from "@/lib/format.ts";
import type { Segment } from "./axis.ts";

/** A label takes so much of the width; where the next would begin sooner it is left out. */
const LABEL = 0.17;

/** Times below the strip: where each stretch begins, where the last ends, and how long the pauses between them are. */
export function StripAxis({ axis, zone }: { axis: readonly Segment[]; zone: Zone }) {
  const first = axis[0];
  const last = axis.at(-1);
  if (!first || !last) return null;
  const day = formatTime(first.from, zone, "day");
  const label = (time: number) => formatTime(time, zone, formatTime(time, zone, "day") === day ? "clock-second" : "minute");
  const hasEnd = last.to - last.from >= 1_000 && last.x1 - last.x0 > 2 * LABEL;
  let free = 0;
  const starts = axis.filter((segment) => {
    const fits = segment.x0 >= free && segment.x0 + LABEL <= 1;
    if (fits) free = segment.x0 + LABEL;
    return fits;
  });
  return (
    <div aria-hidden className="relative h-4 text-2xs text-muted-foreground">
      {starts.map((segment) => (
        <span key={segment.from} className="absolute whitespace-nowrap" style={{ left: `${segment.x0 * 100}%` }}>
          {label(segment.from)}
        </span>
      ))}
      {axis.slice(1).map((segment, i) => {
        const before = axis[i];
        const center = ((before?.x1 ?? 0) + segment.x0) / 2;
        return (
          <span
            key={segment.from}
            title={`${formatDuration((segment.from - (before?.to ?? 0)) / 1000)} cut`}
            className="absolute bottom-full mb-1 hidden -translate-x-1/2 whitespace-nowrap bg-card px-0.5 lg:block"
            style={{ left: `${center * 100}%` }}
          >
            {shortly(segment.from - (before?.to ?? 0))}
          </span>
        );
      })}
      {hasEnd && <span className="absolute right-0">{label(last.to)}</span>}
    </div>
  );
}

/** `20 h`: the largest unit is enough. */
function shortly(ms: number): string {
  return formatDuration(ms / 1000)
    .split(" ")
    .slice(0, 2)
    .join(" ");
}
