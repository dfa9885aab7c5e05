import { useState } from "react";
import { cn } from "@/lib/cn.ts";
import { formatNumber } from "@/lib/format.ts";
import { isLong } from "./timeline-rows.ts";

/** So much of a folded text is drawn; the rest would not be seen. */
const DRAWN = 2_000;

/** A text as it was sent: never as HTML, with its line breaks; a long one is folded. */
export function Fold({ text, className }: { text: string; className?: string }) {
  const [isOpen, setIsOpen] = useState(false);
  const isFolded = isLong(text) && !isOpen;
  return (
    <div className={className}>
      <p className={cn("whitespace-pre-wrap [overflow-wrap:anywhere]", isFolded && "mask-b-from-70% max-h-44 overflow-hidden")}>
        {isFolded ? text.slice(0, DRAWN) : text}
      </p>
      {isLong(text) && (
        <button type="button" aria-expanded={isOpen} onClick={() => setIsOpen(!isOpen)} className="link mt-1 min-h-6 text-xs">
          {isOpen ? "Show less" : `Show all (${formatNumber(text.length)} characters)`}
        </button>
      )}
    </div>
  );
}
