import type { ImageLegend } from "@/lib/chart-image.ts";
import { formatExact, formatNumber, type Unit } from "@/lib/format.ts";
import { HEAT_STEPS, type HeatScale } from "@/lib/heat.ts";

/** How strong each step is; all of one colour, so that it reads as less and more. */
const STRENGTHS = [0.1, 0.24, 0.4, 0.58, 0.78, 1];

export function heatColor(step: number): string {
  return `rgb(var(--heat) / ${STRENGTHS[Math.min(step, HEAT_STEPS - 1)]})`;
}

/** The steps of a scale for a picture of the chart. */
export function imageLegend(scale: HeatScale, unit: Unit): ImageLegend[] {
  return [0, ...scale].map((from, step) => ({ label: `from ${formatNumber(from, unit)}`, color: heatColor(step) }));
}

interface HeatLegendProps {
  scale: HeatScale;
  unit: Unit;
  /** What an empty hour lacks. */
  nothing: string;
}

/** The steps of the scale side by side, each with the value from which on it holds. */
export function HeatLegend({ scale, unit, nothing }: HeatLegendProps) {
  return (
    <div className="mt-1.5 flex flex-wrap items-start gap-x-5 gap-y-1 text-2xs text-muted-foreground">
      <ol aria-label="Colours" className="flex">
        {[0, ...scale].map((from, step) => (
          <li key={from} className="w-12">
            <span aria-hidden className="mr-px block h-2 rounded-xs" style={{ background: heatColor(step) }} />
            <span className="sr-only">from </span>
            <span title={formatExact(from, unit)}>{formatNumber(from, unit)}</span>
          </li>
        ))}
      </ol>
      <span className="flex items-center gap-1.5">
        <svg aria-hidden width="14" height="10">
          <path
            d="M0 5L5 0M0 10L10 0M5 10L14 1M10 10L14 6"
            stroke="var(--control-border)"
            strokeOpacity="0.4"
            strokeWidth="1.5"
          />
        </svg>
        {nothing}
      </span>
    </div>
  );
}
