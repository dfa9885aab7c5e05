import { type ClassValue, clsx } from "clsx";
import { extendTailwindMerge } from "tailwind-merge";

// The sizes of our own type scale; without this `text-2xs` would pass for a colour.
const merge = extendTailwindMerge({ extend: { classGroups: { "font-size": [{ text: ["2xs", "figure"] }] } } });

/** Joins class names; where two set the same property the later one wins. */
export function cn(...classes: ClassValue[]): string {
  return merge(clsx(classes));
}
