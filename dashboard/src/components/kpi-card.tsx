import { Link, type LinkProps } from "@tanstack/react-router";
import { ArrowDown, ArrowUp, Minus } from "lucide-react";
import type { Kpi } from "@/api/generated.ts";
import { cn } from "@/lib/cn.ts";
import { useCommon } from "@/lib/common.ts";
import { formatChange, formatExact, formatNumber, formatTime } from "@/lib/format.ts";
import { Sparkline } from "./sparkline.tsx";
import { Card } from "./ui/card.tsx";

export interface KpiCardProps {
  title: string;
  kpi: Kpi;
  /** The figure over the range, oldest first; a gap where it is not known. */
  trend?: readonly (number | null)[];
  /** Where the events behind the figure are. */
  link?: Pick<LinkProps, "to" | "search" | "params">;
}

/** Less than this is no change worth a colour, per cent. */
const NOTABLE = 1;

export function KpiCard({ title, kpi, trend, link }: KpiCardProps) {
  const { isCompared, zone } = useCommon();
  const value = kpi.hasData ? kpi.value : null;
  const more = kpi.coversFrom ? `${kpi.description}; since ${formatTime(kpi.coversFrom, zone)}` : kpi.description;
  return (
    <Card aria-label={title} className="relative flex h-[98px] flex-col px-3 py-2.5 has-[a:hover]:border-control-border">
      <h2 className="truncate font-normal text-muted-foreground text-xs" title={more}>
        {link ? (
          <Link {...link} className="after:absolute after:inset-0 after:rounded-lg">
            {title}
          </Link>
        ) : (
          title
        )}
      </h2>
      <p className="truncate font-semibold text-figure" title={formatExact(value, kpi.unit)}>
        {formatNumber(value, kpi.unit)}
      </p>
      <div className="mt-auto flex min-h-5 items-end justify-between gap-2">
        {isCompared ? <Change kpi={kpi} /> : <span />}
        {trend && <Sparkline values={trend} width={52} height={18} className="min-w-0 shrink" />}
      </div>
    </Card>
  );
}

function Change({ kpi }: { kpi: Kpi }) {
  if (!kpi.hasData || kpi.previous === null)
    return (
      <span className="text-2xs text-muted-foreground" title="Not known for the range before">
        –
      </span>
    );
  const isFlat = Math.abs(kpi.change) < NOTABLE;
  const isUp = kpi.change >= 0;
  const isGood = kpi.desired === "neutral" || isFlat ? null : (kpi.desired === "increase") === isUp;
  const Icon = isFlat ? Minus : isUp ? ArrowUp : ArrowDown;
  const word = isGood === null ? "" : isGood ? "better" : "worse";
  return (
    <span
      title={`before: ${formatExact(kpi.previous, kpi.unit)}`}
      className={cn(
        "flex items-center gap-0.5 whitespace-nowrap font-medium text-2xs",
        isGood === null ? "text-muted-foreground" : isGood ? "text-ok" : "text-bad",
      )}
    >
      <Icon aria-hidden className="size-3" />
      {formatChange(kpi.change)}
      <span className="sr-only"> against the range before, {word}</span>
    </span>
  );
}

/** Holds a card's place. */
export function KpiCardFrame({ title, children }: { title: string; children?: React.ReactNode }) {
  return (
    <Card aria-label={title} aria-busy className="flex h-[98px] flex-col px-3 py-2.5">
      <h2 className="truncate text-muted-foreground text-xs">{title}</h2>
      {children}
    </Card>
  );
}
