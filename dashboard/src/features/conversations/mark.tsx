import { memo } from "react";
import { LOOKS } from "./kinds.ts";
import type { Kind } from "./timeline-rows.ts";

interface MarkProps {
  kind: Kind;
  /** 0 to 1. */
  x: number;
  /** px. */
  y: number;
  isCurrent: boolean;
}

/** One event on the strip. A nested svg can be placed in per cent where a shape cannot. */
export const Mark = memo(function Mark({ kind, x, y, isCurrent }: MarkProps) {
  const { shape, color } = LOOKS[kind];
  return (
    <svg x={`${x * 100}%`} y={y} overflow="visible" aria-hidden>
      {isCurrent && <circle r="7" className="fill-primary/20 stroke-primary" />}
      {shape === "dot" && <circle r="4" fill={color} className="stroke-card" />}
      {shape === "square" && <rect x="-4" y="-4" width="8" height="8" rx="1.5" fill={color} className="stroke-card" />}
      {shape === "diamond" && <path d="M0 -4.5L4.5 0L0 4.5L-4.5 0Z" fill={color} className="stroke-card" />}
      {shape === "cross" && (
        <path d="M-3.5 -3.5L3.5 3.5M-3.5 3.5L3.5 -3.5" stroke={color} strokeWidth="2.5" strokeLinecap="round" />
      )}
      {shape === "ring" && <circle r="3" stroke={color} strokeWidth="1.5" className="fill-card" />}
    </svg>
  );
});
