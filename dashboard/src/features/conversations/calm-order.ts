/** Keeps rows where a reader has them while the list goes on changing. */
import { type RefObject, useEffect, useMemo, useRef, useState } from "react";

/** So long after its last move the pointer does not hold the rows any more, ms. */
const POINTER_MS = 4_000;

export interface CalmRows<T> {
  rows: readonly T[];
  /** How many are new and wait to be let in at the top. */
  waiting: number;
}

/**
 * The rows in the order that was shown, each with its newest numbers; what is new waits. Rows that the list has no more
 * stay as they were.
 */
export function inHeldOrder<T>(shown: readonly T[], newest: readonly T[], keyOf: (item: T) => string): CalmRows<T> {
  const byKey = new Map(newest.map((item) => [keyOf(item), item]));
  const rows = shown.map((item) => byKey.get(keyOf(item)) ?? item);
  const known = new Set(shown.map(keyOf));
  return { rows, waiting: newest.reduce((count, item) => count + (known.has(keyOf(item)) ? 0 : 1), 0) };
}

/** Lets new rows in while nobody points at, scrolls or has the focus in `area`. `question` names what the list is of. */
export function useCalmRows<T>(
  newest: readonly T[],
  keyOf: (item: T) => string,
  question: string,
  area: RefObject<HTMLElement | null>,
): CalmRows<T> & { letIn: () => void; onPointerMove: () => void } {
  const [held, setHeld] = useState({ rows: newest, question });
  const movedAt = useRef(0);
  const of = useRef(keyOf);

  useEffect(() => {
    const element = area.current;
    const focused = document.activeElement?.closest("a, button");
    const isRead =
      element !== null &&
      (element.scrollTop > 0 || (focused != null && element.contains(focused)) || Date.now() - movedAt.current < POINTER_MS);
    setHeld((old) => (old.question === question && old.rows.length > 0 && isRead ? old : { rows: newest, question }));
  }, [newest, question, area]);

  const isSame = held.question === question;
  const calm = useMemo(
    () => (isSame && held.rows.length > 0 ? inHeldOrder(held.rows, newest, of.current) : { rows: newest, waiting: 0 }),
    [isSame, held.rows, newest],
  );
  const onPointerMove = () => {
    movedAt.current = Date.now();
  };
  return { ...calm, letIn: () => setHeld({ rows: newest, question }), onPointerMove };
}
