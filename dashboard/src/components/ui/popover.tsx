/** The browser's own popover: it lies above everything, and Escape or a click elsewhere closes it. */
import {
  cloneElement,
  createContext,
  type ReactElement,
  type ReactNode,
  type RefObject,
  use,
  useCallback,
  useId,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { cn } from "@/lib/cn.ts";
import { placeBeside } from "@/lib/placing.ts";

interface TriggerProps {
  ref?: RefObject<HTMLButtonElement | null>;
  popoverTarget?: string;
  "aria-expanded"?: boolean;
}

interface PopoverProps {
  /** The button that opens it. */
  trigger: ReactElement<TriggerProps>;
  label: string;
  align?: "start" | "end";
  className?: string;
  children: ReactNode;
}

const Close = createContext<() => void>(() => undefined);

/** What closes the popover that a component is in. */
export function usePopoverClose(): () => void {
  return use(Close);
}

export function Popover({ trigger, label, align = "start", className, children }: PopoverProps) {
  const [isOpen, setIsOpen] = useState(false);
  const id = useId();
  const content = useRef<HTMLDivElement>(null);
  const anchor = useRef<HTMLButtonElement>(null);
  const close = useCallback(() => content.current?.hidePopover(), []);

  useLayoutEffect(() => {
    const [floating, button] = [content.current, anchor.current];
    if (!isOpen || !floating || !button) return;
    const place = () => placeBeside(floating, button, align);
    place();
    (floating.querySelector<HTMLElement>("[aria-pressed=true], button, input, a") ?? floating).focus();
    // What is in it may be loaded later, and be larger.
    const observer = new ResizeObserver(place);
    observer.observe(floating);
    addEventListener("resize", place);
    addEventListener("scroll", place, { capture: true, passive: true });
    return () => {
      observer.disconnect();
      removeEventListener("resize", place);
      removeEventListener("scroll", place, { capture: true });
    };
  }, [isOpen, align]);

  return (
    <>
      {cloneElement(trigger, { ref: anchor, popoverTarget: id, "aria-expanded": isOpen })}
      <div
        ref={content}
        id={id}
        popover="auto"
        role="dialog"
        aria-label={label}
        tabIndex={-1}
        onToggle={(event) => setIsOpen(event.newState === "open")}
        className={cn(
          "fixed inset-auto m-0 max-w-[calc(100vw-1rem)] rounded-lg border bg-raised p-0 text-foreground shadow-lg outline-none",
          className,
        )}
      >
        {isOpen && <Close value={close}>{children}</Close>}
      </div>
    </>
  );
}
