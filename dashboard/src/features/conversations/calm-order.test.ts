import { expect, test } from "vitest";
import { inHeldOrder } from "./calm-order.ts";

const row = (id: string, n: number) => ({ id, n });
const of = (item: { id: string }) => item.id;

test("rows keep their places, get their newest numbers, and new ones wait", () => {
  const shown = [row("a", 1), row("b", 1), row("c", 1)];
  const newest = [row("d", 9), row("b", 2), row("e", 9), row("a", 3)];
  expect(inHeldOrder(shown, newest, of)).toEqual({ rows: [row("a", 3), row("b", 2), row("c", 1)], waiting: 2 });
});

test("nothing shown lets everything wait", () => {
  expect(inHeldOrder([], [row("a", 1)], of)).toEqual({ rows: [], waiting: 1 });
});
