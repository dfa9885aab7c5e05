import type { Trend } from "./trend.ts";

interface TrendBarsProps {
  trend: Trend;
  className?: string;
}

/** Errors per interval as bars. Decoration beside words that say the same: hidden from screen readers. */
export function TrendBars({ trend: { counts }, className }: TrendBarsProps) {
  const most = Math.max(...counts, 1);
  return (
    <svg aria-hidden viewBox={`0 0 ${counts.length} 100`} preserveAspectRatio="none" className={className}>
      <rect x="0" y="99" width={counts.length} height="1" fill="var(--chart-grid)" />
      {counts.map((count, i) => {
        // A single error is to be seen beside a thousand.
        const height = count === 0 ? 0 : Math.max(8, (count / most) * 100);
        // biome-ignore lint/suspicious/noArrayIndexKey: intervals have no identity but their place
        return height > 0 && <rect key={i} x={i + 0.1} y={100 - height} width="0.8" height={height} fill="var(--chart-bad)" />;
      })}
    </svg>
  );
}
