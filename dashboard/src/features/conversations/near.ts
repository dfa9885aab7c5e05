/** Whether an element has come near the screen; one observer for all. */
import { type RefObject, useEffect, useState } from "react";

const MARGIN = "1000px 0px";

const arrivals = new WeakMap<Element, () => void>();
let observer: IntersectionObserver | undefined;

function watch(element: Element, onNear: () => void): () => void {
  observer ??= new IntersectionObserver(
    (entries) => {
      for (const entry of entries) if (entry.isIntersecting) arrivals.get(entry.target)?.();
    },
    { rootMargin: MARGIN },
  );
  arrivals.set(element, onNear);
  observer.observe(element);
  return () => observer?.unobserve(element);
}

/** Once it was near it counts as near for good, so that nothing that was opened closes again. */
export function useNear(element: RefObject<Element | null>, isAtOnce: boolean): boolean {
  const [isNear, setIsNear] = useState(isAtOnce);
  useEffect(() => {
    if (isNear || !element.current) return;
    return watch(element.current, () => setIsNear(true));
  }, [element, isNear]);
  return isNear;
}
