import { useState } from "react";
import { type DateRange, DayPicker } from "react-day-picker";
import { Button } from "@/components/ui/button.tsx";
import { now } from "@/lib/clock.ts";
import type { Zone } from "@/lib/format.ts";
import { DAY, MOST_DAYS, type Range, spanOf } from "@/lib/range.ts";

interface DayRangeProps {
  range: Range;
  zone: Zone;
  onChoose: (range: Range) => void;
}

const DAY_BUTTON = "size-8 rounded-md hover:bg-muted";

/** A calendar for the first and the last day, both inclusive, in the page's zone. */
export default function DayRange({ range, zone, onChoose }: DayRangeProps) {
  const span = spanOf(range, now());
  const [days, setDays] = useState<DateRange | undefined>(
    "preset" in range ? undefined : { from: calendarDay(span.start, zone), to: calendarDay(span.end, zone) },
  );
  const apply = () => {
    if (!days?.from) return;
    const last = days.to ?? days.from;
    const end = startOf(new Date(last.getFullYear(), last.getMonth(), last.getDate() + 1), zone) - 1;
    onChoose({ from: startOf(days.from, zone), to: end });
  };
  return (
    <div className="flex flex-col gap-2">
      <DayPicker
        mode="range"
        selected={days}
        onSelect={setDays}
        defaultMonth={calendarDay(span.end, zone)}
        startMonth={new Date(2000, 0)}
        disabled={{ after: calendarDay(now(), zone) }}
        max={MOST_DAYS - 1}
        weekStartsOn={1}
        classNames={{
          months: "relative",
          month_caption: "flex h-8 items-center px-2 font-medium",
          nav: "absolute top-0 right-0 flex gap-1",
          button_previous: "flex size-8 items-center justify-center rounded-md hover:bg-muted",
          button_next: "flex size-8 items-center justify-center rounded-md hover:bg-muted disabled:opacity-40",
          chevron: "size-4 fill-current",
          month_grid: "border-collapse",
          weekday: "size-8 font-normal text-2xs text-muted-foreground",
          day: "p-0 text-center text-xs",
          day_button: DAY_BUTTON,
          today: "font-bold",
          outside: "text-muted-foreground",
          disabled: "opacity-40",
          range_start: "rounded-l-md bg-primary text-primary-foreground [&_button]:hover:bg-transparent",
          range_middle: "bg-primary-soft text-primary",
          range_end: "rounded-r-md bg-primary text-primary-foreground [&_button]:hover:bg-transparent",
        }}
      />
      <Button variant="primary" size="small" disabled={!days?.from} onClick={apply}>
        Show these days
      </Button>
    </div>
  );
}

/** The day that is shown for a time; the calendar itself thinks in the browser's zone. */
function calendarDay(time: number, zone: Zone): Date {
  const date = new Date(time);
  return zone === "utc" ? new Date(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()) : date;
}

/** When a day of the calendar begins in the zone, ms. */
function startOf(day: Date, zone: Zone): number {
  const [year, month, date] = [day.getFullYear(), day.getMonth(), day.getDate()];
  if (zone === "utc") return Math.floor(Date.UTC(year, month, date) / DAY) * DAY;
  return new Date(year, month, date).getTime();
}
