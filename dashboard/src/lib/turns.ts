/** Heavy pieces of a page are drawn one after the other, each in a task of its own: a click or a key is answered in between. */
import { useEffect, useRef, useState } from "react";
import { flushSync } from "react-dom";

type Turn = () => void;

const waiting: Turn[] = [];

function begin(turn: Turn): () => void {
  waiting.push(turn);
  if (waiting.length === 1) setTimeout(next);
  return () => {
    const at = waiting.indexOf(turn);
    // The first one's timer is set already: it stays, and does nothing.
    if (at === 0) waiting[0] = () => undefined;
    else if (at > 0) waiting.splice(at, 1);
  };
}

function next(): void {
  try {
    waiting[0]?.();
  } finally {
    waiting.shift();
    if (waiting.length > 0) setTimeout(next);
  }
}

/** `value`, once it is this component's turn to draw it; `undefined` until its first. */
export function useTurn<T extends object>(value: T): T | undefined {
  const [drawn, setDrawn] = useState<T>();
  const wanted = useRef(value);
  if (!isSame(wanted.current, value)) wanted.current = value;
  const current = wanted.current;
  // Without flushSync React would draw what several turns have set at once.
  useEffect(() => begin(() => flushSync(() => setDrawn(current))), [current]);
  return drawn;
}

function isSame<T extends object>(a: T, b: T): boolean {
  const keys = Object.keys(b) as (keyof T)[];
  return keys.length === Object.keys(a).length && keys.every((key) => Object.is(a[key], b[key]));
}
