/** What surrounds all pages: the cache of answers and the stream that says when to ask again. */
import { MutationCache, type Query, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, useEffect } from "react";
import { ApiError } from "@/api/http.ts";
import { type Refresh, sessionQuery } from "@/api/queries.ts";
import { liveClient } from "@/lib/live.ts";
import { throttle } from "@/lib/throttle.ts";

/** How soon a question is asked again after a change, ms. */
const REFRESH_MS: Record<Refresh, number> = { fast: 500, slow: 3_000, rare: 30_000 };

/** Whoever was signed out meanwhile is asked to sign in again. */
const onError = (error: Error) => {
  if (error instanceof ApiError && error.status === 401)
    void queryClient.invalidateQueries({ queryKey: sessionQuery().queryKey });
};

export const queryClient: QueryClient = new QueryClient({
  queryCache: new QueryCache({ onError }),
  mutationCache: new MutationCache({ onError }),
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      gcTime: 5 * 60_000,
      // The stream says when something changed.
      refetchOnWindowFocus: false,
      retry: (count, error) => count < 2 && (!(error instanceof ApiError) || error.isRetryable),
      retryDelay: (count) => 500 * 2 ** count,
    },
  },
});

/** Asks again; answers whether some questions were under way, and so may miss the change that this is about. */
function refresh(kind: Refresh): boolean {
  const predicate = (query: Query) => query.meta?.refresh === kind;
  const isBusy = queryClient.isFetching({ predicate }) > 0;
  // A question under way is not asked twice: a slow server must not be asked faster than it answers.
  void queryClient.invalidateQueries({ predicate }, { cancelRefetch: false });
  return isBusy;
}

export function Providers({ children }: { children: ReactNode }) {
  useEffect(() => {
    const kinds = (["fast", "slow", "rare"] as const).map((kind) => {
      const turns = throttle(() => refresh(kind) && turns.call(), REFRESH_MS[kind]);
      return turns;
    });
    const stopListening = liveClient.onChange(() => {
      for (const kind of kinds) kind.call();
    });
    const stop = liveClient.start();
    return () => {
      stopListening();
      stop();
      for (const kind of kinds) kind.cancel();
    };
  }, []);
  return <QueryClientProvider client={queryClient}>{children}</QueryClientProvider>;
}
