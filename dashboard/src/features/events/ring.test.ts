import { expect, test } from "vitest";
import { Ring } from "./ring.ts";

function ringOf(capacity: number, ...newestFirst: number[]): Ring<number> {
  const ring = new Ring<number>(capacity);
  for (const entry of newestFirst) ring.pushOldest(entry);
  return ring;
}

test("new entries come first and push the oldest out", () => {
  const ring = ringOf(3);
  expect([1, 2, 3, 4, 5].map((n) => ring.pushNewest(n))).toEqual([undefined, undefined, undefined, 1, 2]);
  expect([...ring]).toEqual([5, 4, 3]);
  expect([ring.newest, ring.oldest, ring.length, ring.isFull]).toEqual([5, 3, 3, true]);
  expect([ring.at(-1), ring.at(1), ring.at(3)]).toEqual([undefined, 4, undefined]);
});

test("old entries are added at the end while there is room", () => {
  const ring = ringOf(3, 9);
  expect([8, 7, 6].map((n) => ring.pushOldest(n))).toEqual([true, true, false]);
  expect([...ring]).toEqual([9, 8, 7]);
});

test("an entry is put in between", () => {
  const ring = ringOf(5, 9, 7);
  ring.insert(1, 8);
  ring.insert(3, 6);
  ring.insert(0, 10);
  expect([...ring]).toEqual([10, 9, 8, 7, 6]);
  expect(ring.insert(2, 85)).toBe(6);
  expect([...ring]).toEqual([10, 9, 85, 8, 7]);
  // Older than all that a full ring has: it is the one that has to go.
  expect(ring.insert(5, 1)).toBe(1);
  expect([...ring]).toEqual([10, 9, 85, 8, 7]);
});

test("it can be emptied and used again", () => {
  const ring = ringOf(2, 1, 2);
  ring.clear();
  expect([...ring, ring.newest, ring.dropOldest()]).toEqual([undefined, undefined]);
  ring.pushNewest(3);
  expect(ring.indexOf(3)).toBe(0);
  expect(ring.indexOf(1)).toBe(-1);
});

test("it does what a plain list does, whatever is done", () => {
  const capacity = 7;
  const ring = ringOf(capacity);
  let list: number[] = [];
  let state = 1;
  const next = (below: number) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
  for (let step = 0; step < 20_000; step++) {
    switch (next(4)) {
      case 0:
        expect(ring.pushNewest(step)).toBe(list.length === capacity ? list[capacity - 1] : undefined);
        list = [step, ...list].slice(0, capacity);
        break;
      case 1:
        expect(ring.pushOldest(step)).toBe(list.length < capacity);
        if (list.length < capacity) list.push(step);
        break;
      case 2: {
        const index = next(list.length + 1);
        const all = list.toSpliced(index, 0, step);
        expect(ring.insert(index, step)).toBe(all[capacity]);
        list = all.slice(0, capacity);
        break;
      }
      default:
        expect(ring.dropOldest()).toBe(list.pop());
    }
    expect([...ring]).toEqual(list);
  }
});
