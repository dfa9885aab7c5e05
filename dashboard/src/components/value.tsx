import { cn } from "@/lib/cn.ts";
import { useCommon } from "@/lib/common.ts";
import { formatAgo, formatExact, formatNumber, formatTime, formatTimeExact, type Precision, type Unit } from "@/lib/format.ts";
import { useNow } from "@/lib/use-now.ts";

/** A number for people, exact on hover. */
export function Value({
  value,
  unit = "count",
  className,
}: {
  value: number | null | undefined;
  unit?: Unit;
  className?: string;
}) {
  return (
    <span title={formatExact(value, unit)} className={cn("whitespace-nowrap", className)}>
      {formatNumber(value, unit)}
    </span>
  );
}

/** How long ago, exact on hover; follows the clock. */
export function Ago({ time, className }: { time: string | number | null | undefined; className?: string }) {
  const now = useNow();
  const { zone } = useCommon();
  if (time === null || time === undefined) return <span className={className}>–</span>;
  const at = new Date(time);
  return (
    <time dateTime={at.toISOString()} title={formatTimeExact(at, zone)} className={cn("whitespace-nowrap", className)}>
      {formatAgo(at.getTime(), now)}
    </time>
  );
}

/** A time in the page's zone, exact on hover. */
export function Time({
  time,
  precision = "minute",
  className,
}: {
  time: string | number;
  precision?: Precision;
  className?: string;
}) {
  const { zone } = useCommon();
  const at = new Date(time);
  return (
    <time dateTime={at.toISOString()} title={formatTimeExact(at, zone)} className={cn("whitespace-nowrap", className)}>
      {formatTime(at, zone, precision)}
    </time>
  );
}
