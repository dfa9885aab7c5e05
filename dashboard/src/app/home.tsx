/** `/`: the overview, or how to begin where no agent has posted yet. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { lazy } from "react";
import { agentsQuery } from "@/api/queries.ts";
import { Overview } from "@/features/overview/overview.tsx";

const FirstRun = lazy(() => import("@/features/first-run/first-run.tsx"));

export function Home() {
  const any = useInfiniteQuery({ ...agentsQuery({ limit: 1 }), meta: { refresh: "fast" } });
  return any.data?.pages[0]?.total === 0 ? <FirstRun /> : <Overview />;
}
