import { type ClassValue, clsx } from "clsx";

/** Joins class names. Nothing is overridden: a component sets only what its users do not change. */
export function cn(...classes: ClassValue[]): string {
  return clsx(classes);
}
