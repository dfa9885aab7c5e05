/** A short list of commands or choices behind a button. */
import type { ComponentProps, ReactNode } from "react";
import { cn } from "@/lib/cn.ts";
import { Popover, usePopoverClose } from "./popover.tsx";

export function Menu({ children, ...props }: Omit<ComponentProps<typeof Popover>, "align">) {
  return (
    <Popover align="end" {...props}>
      <div className="flex min-w-40 flex-col p-1">{children}</div>
    </Popover>
  );
}

interface MenuItemProps {
  onSelect: () => void;
  /** Of a choice: whether it is the one that holds. */
  isChosen?: boolean;
  children: ReactNode;
}

export function MenuItem({ onSelect, isChosen, children }: MenuItemProps) {
  const close = usePopoverClose();
  const select = () => {
    close();
    onSelect();
  };
  return (
    <button
      type="button"
      onClick={select}
      aria-pressed={isChosen}
      className={cn(
        "flex items-center gap-2 rounded px-2 py-1.5 text-left hover:bg-muted [&_svg]:size-3.5",
        isChosen && "font-semibold",
      )}
    >
      {children}
    </button>
  );
}
