/** Which events of the timeline are on the screen. */
import { type RefObject, useEffect, useState } from "react";

export interface InSight {
  first: number;
  last: number;
}

/**
 * Follows the scrolling of the page. Items of `list` that are events carry `data-index`; `cover` is what lies over the top of
 * the page and hides them.
 */
export function useInSight(
  list: RefObject<HTMLElement | null>,
  cover: RefObject<HTMLElement | null>,
  count: number,
): InSight | null {
  const [sight, setSight] = useState<InSight | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: more events may be in sight when there are more
  useEffect(() => {
    let frame = 0;
    const look = () => {
      frame = 0;
      const found =
        list.current &&
        sightOf(list.current.children, Math.max(0, cover.current?.getBoundingClientRect().bottom ?? 0), innerHeight);
      setSight((old) => (old?.first === found?.first && old?.last === found?.last ? old : (found ?? null)));
    };
    const onScroll = () => {
      frame ||= requestAnimationFrame(look);
    };
    look();
    addEventListener("scroll", onScroll, { passive: true });
    addEventListener("resize", onScroll);
    return () => {
      cancelAnimationFrame(frame);
      removeEventListener("scroll", onScroll);
      removeEventListener("resize", onScroll);
    };
  }, [list, cover, count]);
  return sight;
}

function sightOf(items: HTMLCollection, top: number, bottom: number): InSight | null {
  const from = firstWhere(items, (box) => box.bottom > top + 4);
  const to = firstWhere(items, (box) => box.top > bottom - 4);
  let first: number | undefined;
  let last: number | undefined;
  for (let i = from; i < to; i++) {
    const index = (items[i] as HTMLElement).dataset.index;
    if (index === undefined) continue;
    first ??= Number(index);
    last = Number(index);
  }
  return first === undefined || last === undefined ? null : { first, last };
}

/** Items follow each other downwards, so halving finds it: a thousand boxes are not to be measured at every step. */
function firstWhere(items: HTMLCollection, holds: (box: DOMRect) => boolean): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const item = items[middle];
    if (item && holds(item.getBoundingClientRect())) high = middle;
    else low = middle + 1;
  }
  return low;
}
