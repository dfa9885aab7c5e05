import type { ComponentProps } from "react";
import { cn } from "@/lib/cn.ts";

export function Input({ className, ...props }: ComponentProps<"input">) {
  return (
    <input
      className={cn(
        "h-8 w-full min-w-0 rounded-md border border-control-border/60 bg-card px-2.5 text-sm placeholder:text-muted-foreground aria-invalid:border-bad",
        className,
      )}
      {...props}
    />
  );
}
