/** What the URL says for every page, and how to change it. */
import { useNavigate, useSearch } from "@tanstack/react-router";
import { createContext, useCallback, useContext, useMemo } from "react";
import type { Zone } from "./format.ts";
import type { Range } from "./range.ts";
import { type CommonSearch, rangeOf, rangeSearch, zoneOf } from "./search.ts";

export interface Common {
  /** Agents that the page is about; empty for all. */
  agents: readonly string[];
  range: Range;
  zone: Zone;
  isCompared: boolean;
}

const ALL: readonly string[] = [];

/**
 * What the pages show. It follows the URL in its own time (`useDeferredValue` in the shell): a click is answered by the
 * common bar at once, while the charts of a new range are drawn in pieces that a further click interrupts.
 */
export const ShownCommon = createContext<Common | null>(null);

/** What the page shows, which is what the URL says or is about to be. */
export function useCommon(): Common {
  const shown = useContext(ShownCommon);
  if (!shown) throw new Error("pages are shown within ShownCommon");
  return shown;
}

/**
 * What the URL says now: for the common bar. Changes only when one of these does: a page's own parameters (a sort, an open
 * drawer) redraw no chart.
 */
export function useCommonNow(): Common {
  const search = useSearch({ strict: false, select: commonOf, structuralSharing: true });
  const { agents, range, from, to, tz, compare } = search;
  return useMemo(
    () => ({
      agents: agents ?? ALL,
      range: rangeOf({ range, from, to }),
      zone: zoneOf({ tz }),
      isCompared: compare !== "off",
    }),
    [agents, range, from, to, tz, compare],
  );
}

function commonOf({ agents, range, from, to, tz, compare }: CommonSearch): CommonSearch {
  return { agents, range, from, to, tz, compare };
}

/** Changes parameters of this page's URL; `undefined` takes one away. Each change is a step of the back button. */
export function useChangeSearch(): (change: Record<string, unknown>, options?: { replace?: boolean }) => void {
  const navigate = useNavigate();
  return useCallback(
    (change, options) => {
      void navigate({
        to: ".",
        search: ((old: Record<string, unknown>) => ({ ...old, ...change })) as never,
        replace: options?.replace ?? false,
        resetScroll: false,
      });
    },
    [navigate],
  );
}

/** Sets the range to two times (ms), as a drag on a chart does. */
export function useZoom(): (from: number, to: number) => void {
  const change = useChangeSearch();
  return useCallback((from, to) => change(rangeSearch({ from, to })), [change]);
}
