/** Shows a component as a page would: with a router and a cache of answers of its own. */
import { QueryClient, QueryClientProvider, type UseQueryResult } from "@tanstack/react-query";
import {
  createMemoryHistory,
  createRootRoute,
  createRoute,
  createRouter,
  type NotFoundRouteProps,
  Outlet,
  RouterProvider,
} from "@tanstack/react-router";
import type { ReactNode } from "react";
import { render } from "vitest-browser-react";
import { ShownCommon, useCommonNow } from "@/lib/common.ts";
import { commonSearch, parseSearch, stringifySearch } from "@/lib/search.ts";

/** `route`: the page's path where it has parameters; without one the content stays wherever the address goes. */
export async function show(content: ReactNode, url = "/", route?: string) {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  const root = createRootRoute({
    component: () => <WithCommon>{route ? <Outlet /> : content}</WithCommon>,
    validateSearch: (raw) => ({ ...raw, ...commonSearch(raw) }),
    notFoundComponent: (_: NotFoundRouteProps) => null,
  });
  const page = createRoute({ getParentRoute: () => root, path: route ?? "/", component: () => (route ? content : null) });
  const router = createRouter({
    routeTree: root.addChildren([page]),
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
  /** What the address says now. */
  const search = () => parseSearch(router.state.location.searchStr) as Record<string, string | undefined>;
  /** Asks for everything again, as the page does when something changed. */
  const refresh = () => client.invalidateQueries();
  return { screen, router, client, search, refresh };
}

/** What the shell does around every page. */
function WithCommon({ children }: { children: ReactNode }) {
  return <ShownCommon value={useCommonNow()}>{children}</ShownCommon>;
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
