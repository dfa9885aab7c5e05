/** Says that more has come below what one reads, and never scrolls by itself. */
import { ArrowDown } from "lucide-react";
import { type RefObject, useEffect, useRef, useState } from "react";
import type { Event } from "@/api/generated.ts";
import { Button } from "@/components/ui/button.tsx";
import { keyOf } from "./timeline-rows.ts";

interface ArrivalsProps {
  events: readonly Event[];
  /** Goes to an event. */
  onGo: (index: number) => void;
}

export function Arrivals({ events, onGo }: ArrivalsProps) {
  const end = useRef<HTMLDivElement>(null);
  const seen = useLastSeen(events, end);
  // A count would not do: of a very long conversation the oldest events make room for the newest.
  const firstNew = seen === undefined ? events.length : events.findLastIndex((event) => keyOf(event) === seen) + 1;
  const news = events.length - firstNew;
  return (
    <>
      <div ref={end} aria-hidden className="h-px" />
      <p role="status" className="sr-only">
        {news > 0 ? `${news} new ${news === 1 ? "event" : "events"} at the end` : ""}
      </p>
      {news > 0 && (
        <div className="pointer-events-none sticky bottom-16 z-10 flex justify-center lg:bottom-4">
          <Button variant="primary" size="small" className="pointer-events-auto shadow-lg" onClick={() => onGo(firstNew)}>
            <ArrowDown aria-hidden /> {news} new {news === 1 ? "event" : "events"}
          </Button>
        </div>
      )}
    </>
  );
}

/** The last event when the end was last on the screen; at first the last there is. */
function useLastSeen(events: readonly Event[], end: RefObject<HTMLElement | null>): string | undefined {
  const last = events.at(-1);
  const newest = last && keyOf(last);
  const [seen, setSeen] = useState(newest);
  const current = useRef(newest);
  const isAtEnd = useRef(false);
  useEffect(() => {
    if (!end.current) return;
    const observer = new IntersectionObserver(([entry]) => {
      isAtEnd.current = entry?.isIntersecting ?? false;
      if (isAtEnd.current) setSeen(current.current);
    });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [end]);
  useEffect(() => {
    current.current = newest;
    if (isAtEnd.current) setSeen(newest);
  }, [newest]);
  return seen;
}
