/** Says that more has come below what one reads, and never scrolls by itself. */
import { ArrowDown } from "lucide-react";
import { type RefObject, useEffect, useRef, useState } from "react";
import { Button } from "@/components/ui/button.tsx";

interface ArrivalsProps {
  count: number;
  /** Goes to an event. */
  onGo: (index: number) => void;
}

export function Arrivals({ count, onGo }: ArrivalsProps) {
  const end = useRef<HTMLDivElement>(null);
  const seen = useSeen(count, end);
  const news = count - seen;
  return (
    <>
      <div ref={end} aria-hidden className="h-px" />
      <p role="status" className="sr-only">
        {news > 0 ? `${news} new ${news === 1 ? "event" : "events"} at the end` : ""}
      </p>
      {news > 0 && (
        <div className="pointer-events-none sticky bottom-16 z-10 flex justify-center lg:bottom-4">
          <Button variant="primary" size="small" className="pointer-events-auto shadow-lg" onClick={() => onGo(seen)}>
            <ArrowDown aria-hidden /> {news} new {news === 1 ? "event" : "events"}
          </Button>
        </div>
      )}
    </>
  );
}

/** How many events there were when the end was last on the screen. */
function useSeen(count: number, end: RefObject<HTMLElement | null>): number {
  const [seen, setSeen] = useState(count);
  const newest = useRef(count);
  const isAtEnd = useRef(false);
  useEffect(() => {
    if (!end.current) return;
    const observer = new IntersectionObserver(([entry]) => {
      isAtEnd.current = entry?.isIntersecting ?? false;
      if (isAtEnd.current) setSeen(newest.current);
    });
    observer.observe(end.current);
    return () => observer.disconnect();
  }, [end]);
  useEffect(() => {
    newest.current = count;
    if (isAtEnd.current) setSeen(count);
  }, [count]);
  return Math.min(seen, count);
}
