import { X } from "lucide-react";
import { type ReactNode, useEffect, useId, useRef } from "react";
import { cn } from "@/lib/cn.ts";
import { Button } from "./button.tsx";

interface DialogProps {
  isOpen: boolean;
  onClose: () => void;
  /** Names the dialog; shown unless `hasTitle` is false. */
  title: ReactNode;
  hasTitle?: boolean;
  /** In the middle, or from the right edge over the full height. */
  side?: "center" | "right";
  className?: string;
  children: ReactNode;
}

const PLACES = {
  center: "m-auto max-h-[85vh] w-[min(40rem,calc(100vw-1rem))] rounded-xl border",
  right: "m-0 ml-auto h-full max-h-none w-[min(36rem,100vw)] max-w-none border-l",
} as const;

/** The browser's own modal dialog: it keeps the focus inside, closes with Escape and hides the page from screen readers. */
export function Dialog({ isOpen, onClose, title, hasTitle = true, side = "center", className, children }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  const titleId = useId();

  useEffect(() => {
    const dialog = element.current;
    if (!dialog) return;
    if (isOpen && !dialog.open) dialog.showModal();
    if (!isOpen && dialog.open) dialog.close();
  }, [isOpen]);

  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog already; the click is on its backdrop
    <dialog
      ref={element}
      aria-labelledby={titleId}
      onClose={onClose}
      onClick={(event) => event.target === element.current && onClose()}
      className={cn("fixed inset-0 overflow-hidden bg-raised p-0 text-foreground shadow-xl", PLACES[side], className)}
    >
      {isOpen && (
        <div className="flex h-full max-h-[inherit] flex-col">
          <header className={cn("flex items-center justify-between gap-2 border-b px-4 py-2.5", !hasTitle && "sr-only")}>
            <h2 id={titleId} className="min-w-0 truncate font-semibold text-base">
              {title}
            </h2>
            <Button variant="ghost" size="icon" aria-label="Close" onClick={onClose}>
              <X />
            </Button>
          </header>
          <div className="min-h-0 flex-1 overflow-auto">{children}</div>
        </div>
      )}
    </dialog>
  );
}
