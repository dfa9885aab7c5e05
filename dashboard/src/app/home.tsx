/** `/`: the overview, or how to begin where no agent has posted yet. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { lazy, useState } from "react";
import { agentsQuery } from "@/api/queries.ts";
import { Overview } from "@/features/overview/overview.tsx";

const FirstRun = lazy(() => import("@/features/first-run/first-run.tsx"));

export function Home() {
  const [hasBegun, setHasBegun] = useState(false);
  const any = useInfiniteQuery({ ...agentsQuery({ limit: 1 }), meta: { refresh: "fast" }, enabled: !hasBegun });
  const total = any.data?.pages[0]?.total ?? 0;
  // Once there is an agent there is one for good, and nobody has to be asked again.
  if (total > 0 && !hasBegun) setHasBegun(true);
  return any.data && total === 0 ? <FirstRun /> : <Overview />;
}
