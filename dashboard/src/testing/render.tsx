/** Shows a component as a page would: with a router and a cache of answers of its own. */
import { QueryClient, QueryClientProvider, type UseQueryResult } from "@tanstack/react-query";
import { createMemoryHistory, createRootRoute, createRouter, RouterProvider } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { render } from "vitest-browser-react";
import { commonSearch, parseSearch, stringifySearch } from "@/lib/search.ts";

export async function show(content: ReactNode, url = "/") {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  const root = createRootRoute({ component: () => content, validateSearch: (raw) => ({ ...raw, ...commonSearch(raw) }) });
  const router = createRouter({
    routeTree: root,
    history: createMemoryHistory({ initialEntries: [url] }),
    parseSearch,
    stringifySearch,
  });
  await router.load();
  const screen = await render(
    <QueryClientProvider client={client}>
      <RouterProvider router={router as never} />
    </QueryClientProvider>,
  );
  return { screen, router };
}

/** A question in a state of one's choice. */
export function query<T>(
  state: { [K in keyof UseQueryResult<T, Error>]?: UseQueryResult<T, Error>[K] },
): UseQueryResult<T, Error> {
  return {
    data: undefined,
    error: null,
    isError: false,
    isPending: false,
    dataUpdatedAt: 0,
    refetch: async () => undefined,
    ...state,
  } as never;
}
