import type { ComponentProps } from "react";
import { cn } from "@/lib/cn.ts";

/** Holds the place of what loads. Decoration: the panel says that it loads. */
export function Skeleton({ className, ...props }: ComponentProps<"div">) {
  return <div aria-hidden className={cn("animate-pulse rounded bg-muted", className)} {...props} />;
}
