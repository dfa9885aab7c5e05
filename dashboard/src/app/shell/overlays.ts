/** Which overlay is open: the palette or the list of shortcuts. */
import { useSyncExternalStore } from "react";

export type Overlay = "palette" | "shortcuts" | null;

let open: Overlay = null;
const listeners = new Set<() => void>();

export function showOverlay(next: Overlay): void {
  open = next;
  for (const listener of listeners) listener();
}

export const openPalette = () => showOverlay("palette");

export function useOverlay(): Overlay {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => open,
  );
}
