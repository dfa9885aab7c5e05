import { Calendar, ChevronDown } from "lucide-react";
import { lazy, Suspense } from "react";
import { PanelBoundary } from "@/components/panel.tsx";
import { Button } from "@/components/ui/button.tsx";
import { Popover, usePopoverClose } from "@/components/ui/popover.tsx";
import { Skeleton } from "@/components/ui/skeleton.tsx";
import { useChangeSearch, useCommonNow } from "@/lib/common.ts";
import { formatTime, type Zone } from "@/lib/format.ts";
import { DAY, PRESET_LABELS, PRESETS, type Range } from "@/lib/range.ts";
import { rangeSearch } from "@/lib/search.ts";

const DayRange = lazy(() => import("./day-range.tsx"));

/** From when to when, in which zone, compared with the range before or not. */
export function RangePicker() {
  const { range, zone } = useCommonNow();
  const text = rangeText(range, zone);
  const trigger = (
    <Button aria-label={`Time range: ${text}`}>
      <Calendar /> <span className="max-w-40 truncate sm:max-w-none">{text}</span>
      <span className="hidden text-muted-foreground sm:inline">{zone === "utc" ? "UTC" : "local"}</span>
      <ChevronDown className="text-muted-foreground" />
    </Button>
  );
  return (
    <Popover trigger={trigger} label="Choose a time range" className="overflow-auto">
      <Choices />
    </Popover>
  );
}

function Choices() {
  const { range, zone, isCompared } = useCommonNow();
  const change = useChangeSearch();
  const close = usePopoverClose();
  const choose = (next: Range) => {
    close();
    change(rangeSearch(next));
  };
  return (
    <div className="flex flex-col gap-3 p-3 sm:flex-row">
      <div className="flex w-full flex-col gap-1 sm:w-44">
        {PRESETS.map((preset) => (
          <Button
            key={preset}
            variant="ghost"
            className="justify-start!"
            aria-pressed={"preset" in range && range.preset === preset}
            onClick={() => choose({ preset })}
          >
            {PRESET_LABELS[preset]}
          </Button>
        ))}
        <fieldset className="mt-2 border-t pt-2">
          <legend className="sr-only">Time zone</legend>
          {(["utc", "local"] as const).map((each) => (
            <label key={each} className="flex cursor-pointer items-center gap-2 px-3 py-1">
              <input
                type="radio"
                name="zone"
                checked={zone === each}
                onChange={() => change({ tz: each === "utc" ? undefined : "local" })}
              />
              {each === "utc" ? "UTC" : `Local (${localZone()})`}
            </label>
          ))}
          <p className="px-3 pt-1 text-muted-foreground text-xs">Days are counted in UTC; charts by day stay so.</p>
        </fieldset>
        <label className="flex cursor-pointer items-center gap-2 px-3 py-1">
          <input type="checkbox" checked={isCompared} onChange={() => change({ compare: isCompared ? "off" : undefined })} />
          Compare with before
        </label>
      </div>
      <PanelBoundary title="The calendar">
        <Suspense fallback={<Skeleton className="h-72 w-64" />}>
          <DayRange range={range} zone={zone} onChoose={choose} />
        </Suspense>
      </PanelBoundary>
    </div>
  );
}

function localZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

function rangeText(range: Range, zone: Zone): string {
  if ("preset" in range) return PRESET_LABELS[range.preset];
  const isWholeDays = zone === "utc" && range.from % DAY === 0 && (range.to + 1) % DAY === 0;
  const isThisYear = new Date(range.from).getUTCFullYear() === new Date().getUTCFullYear();
  const precision = !isThisYear ? "date" : isWholeDays ? "day" : "minute";
  const [from, to] = [formatTime(range.from, zone, precision), formatTime(range.to, zone, precision)];
  return from === to ? from : `${from} – ${to}`;
}
