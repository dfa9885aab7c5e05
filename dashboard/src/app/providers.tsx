/** What surrounds all pages: the cache of answers and the stream that says when to ask again. */
import { MutationCache, type Query, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, useEffect } from "react";
import { ApiError } from "@/api/http.ts";
import { type Refresh, sessionQuery } from "@/api/queries.ts";
import { liveClient } from "@/lib/live.ts";
import { throttle } from "@/lib/throttle.ts";

/** How soon a question is asked again after a change, ms. */
const REFRESH_MS: Record<Refresh, number> = { fast: 500, slow: 3_000, rare: 30_000 };

/** An agent's day is announced when it is written; its hour and the fleet's items may follow within this, ms. */
const SETTLE_MS = 1_000;
/** How often a page is brought up to date while nothing happens, ms. */
const QUIET_MS = 30_000;

/** Whoever was signed out meanwhile is asked to sign in again. */
const onError = (error: Error) => {
  if (error instanceof ApiError && error.status === 401)
    void queryClient.invalidateQueries({ queryKey: sessionQuery().queryKey });
};

export const queryClient: QueryClient = new QueryClient({
  queryCache: new QueryCache({ onError }),
  mutationCache: new MutationCache({ onError }),
  defaultOptions: {
    // The server may be on this machine, whatever the browser thinks of its network.
    mutations: { networkMode: "always" },
    queries: {
      networkMode: "always",
      staleTime: 5_000,
      gcTime: 5 * 60_000,
      // The stream says when something changed.
      refetchOnWindowFocus: false,
      retry: (count, error) => count < 2 && (!(error instanceof ApiError) || error.isRetryable),
      retryDelay: (count) => 500 * 2 ** count,
    },
  },
});

const isPaused = () => liveClient.getState().mode === "paused";

/** Asks again what is idle now, and later what was under way and so may have missed the change. */
function refresh(kind: Refresh): void {
  // It was set off before the viewer paused; going live again asks everything.
  if (isPaused()) return;
  const predicate = (query: Query) => query.meta?.refresh === kind;
  const busy = queryClient.getQueryCache().findAll({ predicate, fetchStatus: "fetching" });
  // A question under way is not asked twice: a slow server must not be asked faster than it answers.
  void queryClient.invalidateQueries({ predicate }, { cancelRefetch: false });
  if (busy.length > 0) setTimeout(() => catchUp(busy, kind), REFRESH_MS[kind]);
}

/** Asks those once more that have been answered meanwhile, and the others when they are. */
function catchUp(queries: readonly Query[], kind: Refresh): void {
  if (isPaused()) return;
  const busy = queries.filter((query) => query.state.fetchStatus === "fetching");
  for (const query of queries) {
    if (!busy.includes(query)) void queryClient.invalidateQueries({ queryKey: query.queryKey, exact: true });
  }
  if (busy.length > 0) setTimeout(() => catchUp(busy, kind), REFRESH_MS[kind]);
}

/** A paused page stands still: what is only being asked again keeps the answer that it has. */
function standStill(): void {
  const predicate = (query: Query) => query.meta?.refresh !== undefined && query.state.data !== undefined;
  void queryClient.cancelQueries({ predicate, fetchStatus: "fetching" });
}

export function Providers({ children }: { children: ReactNode }) {
  useEffect(() => {
    const kinds = (["fast", "slow", "rare"] as const).map((kind) => throttle(() => refresh(kind), REFRESH_MS[kind]));
    const all = () => {
      for (const kind of kinds) kind.call();
    };
    let settling: ReturnType<typeof setTimeout> | undefined;
    const stopListening = liveClient.onChange(() => {
      all();
      settling ??= setTimeout(() => {
        settling = undefined;
        all();
      }, SETTLE_MS);
    });
    let wasPaused = isPaused();
    const stopWatching = liveClient.subscribe(() => {
      if (isPaused() && !wasPaused) standStill();
      wasPaused = isPaused();
    });
    // Silence is news too: an hour moves on and an agent counts as silent although nothing happens.
    const clock = setInterval(() => liveClient.getState().mode === "live" && all(), QUIET_MS);
    const stop = liveClient.start();
    return () => {
      stopListening();
      stopWatching();
      clearTimeout(settling);
      clearInterval(clock);
      stop();
      for (const kind of kinds) kind.cancel();
    };
  }, []);
  return <QueryClientProvider client={queryClient}>{children}</QueryClientProvider>;
}
