import { Info, TriangleAlert } from "lucide-react";
import type { ReactNode } from "react";
import { cn } from "@/lib/cn.ts";

/** A quiet sentence on what the numbers beside it do not cover. */
export function Notice({
  tone = "neutral",
  className,
  children,
}: {
  tone?: "neutral" | "warn";
  className?: string;
  children: ReactNode;
}) {
  const Icon = tone === "warn" ? TriangleAlert : Info;
  return (
    <p
      className={cn(
        "flex items-start gap-2 rounded-md px-2.5 py-1.5 text-xs [&_svg]:mt-0.5 [&_svg]:size-3 [&_svg]:shrink-0",
        tone === "warn" ? "bg-warn-soft text-warn" : "bg-muted text-muted-foreground",
        className,
      )}
    >
      <Icon aria-hidden />
      <span className="min-w-0">{children}</span>
    </p>
  );
}
