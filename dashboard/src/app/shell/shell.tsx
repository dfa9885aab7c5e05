/** The frame of all pages: where to go, and the common bar. Asks who may read before any page is shown. */
import { useQuery } from "@tanstack/react-query";
import { Outlet, useParams, useRouterState } from "@tanstack/react-router";
import { Suspense, useDeferredValue, useEffect, useRef } from "react";
import { sessionQuery } from "@/api/queries.ts";
import { Skeleton } from "@/components/ui/skeleton.tsx";
import { SignIn } from "@/features/sign-in/sign-in.tsx";
import { ShownCommon, useCommonNow } from "@/lib/common.ts";
import { liveClient } from "@/lib/live.ts";
import { CommonBar } from "./common-bar.tsx";
import { Navigation, NavigationBar } from "./navigation.tsx";
import { Shortcuts } from "./shortcuts.tsx";

export function Shell() {
  const session = useQuery(sessionQuery());
  const common = useCommonNow();
  const shown = useDeferredValue(common);
  const { agents } = common;
  const path = useRouterState({ select: (state) => state.location.pathname });
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);

  // A page about one agent follows that one, whatever the bar names.
  const { agentId } = useParams({ strict: false });
  useEffect(() => liveClient.setAgents(agentId ? [agentId] : agents), [agentId, agents]);

  // Whoever may not read would only be refused. Where nobody can say whether one may, the stream tells that the server is away.
  const mayRead = session.data ? !session.data.is_required || session.data.is_signed_in : session.isError;
  useEffect(() => liveClient.setAllowed(mayRead), [mayRead]);

  // A new page is announced by moving the focus to it, but not when the tab is opened.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the path is what it is about
  useEffect(() => {
    if (!isFirst.current) main.current?.focus({ preventScroll: true });
    isFirst.current = false;
  }, [path]);

  if (session.data && !mayRead) return <SignIn />;
  return (
    <ShownCommon value={shown}>
      <div className="flex min-h-full">
        <a
          href="#main"
          className="sr-only z-50 rounded bg-raised px-3 py-2 focus:not-sr-only focus:fixed focus:top-2 focus:left-2"
        >
          Skip to the content
        </a>
        <Navigation canSignOut={session.data?.is_required ?? false} />
        <div className="flex min-w-0 flex-1 flex-col pb-14 lg:pb-0">
          <CommonBar />
          <main ref={main} id="main" tabIndex={-1} className="min-w-0 flex-1 px-3 py-3 outline-none sm:px-5 sm:py-4">
            <Suspense fallback={<Skeleton className="h-96" />}>
              <Outlet />
            </Suspense>
          </main>
        </div>
        <NavigationBar />
        <Shortcuts />
      </div>
    </ShownCommon>
  );
}
