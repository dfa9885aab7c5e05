/** Events as they come, and those before them. */
import { useRouter, useSearch } from "@tanstack/react-router";
import { type ReactNode, useCallback, useEffect, useMemo, useRef } from "react";
import { NoData } from "@/components/no-data.tsx";
import { PanelBoundary, PanelError } from "@/components/panel.tsx";
import { Button } from "@/components/ui/button.tsx";
import { Card } from "@/components/ui/card.tsx";
import { Skeleton } from "@/components/ui/skeleton.tsx";
import { useChangeSearch, useCommon } from "@/lib/common.ts";
import { EventDrawer } from "./event-drawer.tsx";
import { EventTable } from "./event-table.tsx";
import { FeedStatus } from "./feed-status.tsx";
import { parseFilter } from "./filter.ts";
import { FilterBox } from "./filter-box.tsx";
import { FilterChips } from "./filter-chips.tsx";
import { searchedText } from "./list-end.tsx";
import { partsOf } from "./row.ts";
import { MOST_IDLE_PAGES } from "./session.ts";
import { type FeedPage, useFeed, useFeedVersion } from "./use-feed.ts";

export function Events() {
  const { filter = "", event: openKey } = useSearch({ strict: false }) as { filter?: string; event?: string };
  const { zone } = useCommon();
  const change = useChangeSearch();
  const { terms } = useMemo(() => parseFilter(filter), [filter]);
  const page = useFeed(terms);
  const { feed, session, plan } = page;
  const apply = (next: string) => change({ filter: next || undefined });
  const drawer = useDrawer(openKey);
  const open = (key: string) => {
    // Before the focus leaves the list: it must not move under what was clicked.
    feed.hold("detail");
    drawer.open(key);
  };

  const isOpen = openKey !== undefined && partsOf(openKey) !== null;
  useEffect(() => {
    if (isOpen) feed.hold("detail");
    // By the next frame the focus is back in the list, which then stands still for that.
    else requestAnimationFrame(() => feed.release("detail"));
  }, [feed, isOpen]);

  return (
    <div className="flex h-[calc(100dvh-10.75rem)] min-h-96 flex-col gap-2 sm:h-[calc(100dvh-9rem)] lg:h-[calc(100dvh-5.25rem)]">
      <h1 className="sr-only">Live events</h1>
      <FilterBox filter={filter} onApply={apply} />
      <FilterChips terms={terms} plan={plan} feed={feed} session={session} zone={zone} onApply={apply} />
      <Card aria-label="Events" className="flex min-h-0 flex-1 flex-col overflow-hidden">
        <FeedStatus feed={feed} session={session} isFiltered={(plan?.local.length ?? 0) > 0} />
        <PanelBoundary title="The list" onRetry={page.reload}>
          <List page={page} onClear={() => apply("")} hasFilter={terms.length > 0}>
            {session && (
              <EventTable
                key={filter}
                feed={feed}
                session={session}
                zone={zone}
                openKey={openKey}
                onOpen={open}
                onReload={page.reload}
              />
            )}
          </List>
        </PanelBoundary>
      </Card>
      <EventDrawer feed={feed} openKey={openKey} onMove={drawer.move} onClose={drawer.close} />
    </div>
  );
}

/** Opens, moves and closes the drawer by the URL. Back closes it, and closing goes back where it was opened here. */
function useDrawer(openKey: string | undefined) {
  const change = useChangeSearch();
  const { history } = useRouter();
  const isOpenedHere = useRef(false);
  /** The key that can still be closed: the browser's dialog says twice that it closes, and going back takes a moment. */
  const closable = useRef(openKey);
  useEffect(() => {
    closable.current = openKey;
  }, [openKey]);
  const open = useCallback(
    (key: string) => {
      isOpenedHere.current = true;
      change({ event: key });
    },
    [change],
  );
  const move = useCallback((key: string) => change({ event: key }, { replace: true }), [change]);
  const close = useCallback(() => {
    if (closable.current === undefined) return;
    closable.current = undefined;
    if (isOpenedHere.current) history.back();
    else change({ event: undefined }, { replace: true });
    isOpenedHere.current = false;
  }, [change, history]);
  return { open, move, close };
}

interface ListProps {
  page: FeedPage;
  hasFilter: boolean;
  onClear: () => void;
  children: ReactNode;
}

/** The list, or what there is to say in its place. */
function List({ page: { feed, session }, hasFilter, onClear, children }: ListProps) {
  useFeedVersion(feed);
  const { zone } = useCommon();
  if (feed.view.length > 0) return children;
  if (!session || session.phase === "loading") return <Loading />;
  if (session.error) return <PanelError error={session.error} onRetry={() => session.retry()} />;
  const canGoOn = !session.isEnd && !feed.all.isFull;
  if (canGoOn && session.isLoadingOlder) return <Loading />;
  return (
    <div className="flex flex-1 flex-col items-center justify-center gap-3 px-4 py-6 text-center text-muted-foreground">
      {hasFilter ? (
        <>
          <p>No event fits this filter. {feed.all.length > 0 && searchedText(feed, zone)}</p>
          <p className="flex flex-wrap justify-center gap-2">
            {canGoOn && <LookFurther page={{ feed, session }} />}
            <Button size="small" onClick={onClear}>
              Clear the filter
            </Button>
          </p>
        </>
      ) : (
        <NoData />
      )}
      {session.isLive && <p>New events show here as they come.</p>}
    </div>
  );
}

function LookFurther({ page: { session } }: { page: Pick<FeedPage, "feed" | "session"> }) {
  useEffect(() => {
    if (session && session.idlePages < MOST_IDLE_PAGES) void session.loadOlder();
  });
  if (!session) return null;
  return (
    <Button
      size="small"
      onClick={() => {
        session.idlePages = 0;
        void session.loadOlder();
      }}
    >
      Look further back
    </Button>
  );
}

function Loading() {
  return (
    <div className="flex flex-1 flex-col gap-1.5 overflow-hidden p-4">
      <span className="sr-only">Events load</span>
      {Array.from({ length: 24 }, (_, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they are all alike
        <Skeleton key={i} className="h-[27px] shrink-0" />
      ))}
    </div>
  );
}
