import type { ComponentProps } from "react";
import { cn } from "@/lib/cn.ts";

/** The browser's own list: it works with every keyboard, screen reader and phone. */
export function Select({ className, ...props }: ComponentProps<"select">) {
  return (
    <select
      className={cn("h-8 rounded-md border border-control-border/60 bg-card px-2 pr-7 text-sm hover:bg-muted", className)}
      {...props}
    />
  );
}
