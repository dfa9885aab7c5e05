import { cn } from "@/lib/cn.ts";
import { PLACEHOLDERS, shapeParts } from "./shape-parts.ts";

/** What the messages of a group have in common; what differs is marked. */
export function Shape({ shape, className }: { shape: string; className?: string }) {
  return (
    <span className={cn("font-mono text-xs", className)}>
      {shapeParts(shape).map(({ text, isPlaceholder }, i) =>
        isPlaceholder ? (
          // biome-ignore lint/suspicious/noArrayIndexKey: parts have no identity but their place
          <span key={i} title={PLACEHOLDERS[text]} className="rounded-sm bg-primary-soft px-0.5 text-primary">
            {text}
          </span>
        ) : (
          text
        ),
      )}
    </span>
  );
}
