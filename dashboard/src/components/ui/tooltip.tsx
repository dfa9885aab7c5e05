/** Says more about what has the focus or the pointer. Must not hold anything that is said nowhere else. */
import { cloneElement, type ReactElement, type ReactNode, useEffect, useId, useLayoutEffect, useRef, useState } from "react";
import { placeBeside } from "@/lib/placing.ts";

/** Resting that long on something asks for more, ms. */
const SHOW_AFTER_MS = 300;
/** Time to move the pointer into the tooltip (WCAG 1.4.13), ms. */
const HIDE_AFTER_MS = 120;

interface AnchorProps {
  "aria-describedby"?: string;
  onPointerEnter?: (event: { currentTarget: Element }) => void;
  onPointerLeave?: () => void;
  onFocus?: (event: { currentTarget: Element }) => void;
  onBlur?: () => void;
}

export function Tooltip({ text, children }: { text: ReactNode; children: ReactElement<AnchorProps> }) {
  const [anchor, setAnchor] = useState<Element | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const id = useId();
  const later = (ms: number, next: Element | null) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setAnchor(next), ms);
  };
  useEffect(() => () => clearTimeout(timer.current), []);

  return (
    <>
      {cloneElement(children, {
        "aria-describedby": anchor ? id : undefined,
        onPointerEnter: ({ currentTarget }) => later(SHOW_AFTER_MS, currentTarget),
        onPointerLeave: () => later(HIDE_AFTER_MS, null),
        onFocus: ({ currentTarget }) => currentTarget.matches(":focus-visible") && later(0, currentTarget),
        onBlur: () => later(0, null),
      })}
      {anchor && (
        <Box
          id={id}
          anchor={anchor}
          onHold={() => clearTimeout(timer.current)}
          onLeave={() => later(HIDE_AFTER_MS, null)}
          onHide={() => later(0, null)}
        >
          {text}
        </Box>
      )}
    </>
  );
}

interface BoxProps {
  id: string;
  anchor: Element;
  onHold: () => void;
  onLeave: () => void;
  onHide: () => void;
  children: ReactNode;
}

function Box({ id, anchor, onHold, onLeave, onHide, children }: BoxProps) {
  const element = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const box = element.current;
    if (!box) return;
    if (!box.matches(":popover-open")) box.showPopover();
    placeBeside(box, anchor, "center");
    const onKey = (event: KeyboardEvent) => event.key === "Escape" && onHide();
    addEventListener("keydown", onKey);
    addEventListener("scroll", onHide, { capture: true, passive: true });
    return () => {
      removeEventListener("keydown", onKey);
      removeEventListener("scroll", onHide, { capture: true });
    };
  });
  return (
    <div
      ref={element}
      id={id}
      role="tooltip"
      popover="manual"
      onPointerEnter={onHold}
      onPointerLeave={onLeave}
      className="fixed inset-auto m-0 max-w-72 rounded-md border bg-raised px-2 py-1 text-foreground text-xs shadow-lg"
    >
      {children}
    </div>
  );
}
