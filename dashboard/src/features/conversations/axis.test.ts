import { expect, test } from "vitest";
import { axisOf, nearestTo, placeOn } from "./axis.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

test("without long pauses the axis is one stretch from edge to edge", () => {
  const axis = axisOf([0, 30_000, 60_000]);
  expect(axis).toMatchObject([{ from: 0, to: 60_000, x0: 0, x1: 1 }]);
  expect([0, 30_000, 60_000].map((t) => Number(placeOn(axis, t).toFixed(3)))).toEqual([0.019, 0.5, 0.981]);
});

test("equal distances in time are equal distances on the axis", () => {
  const times = [0, MINUTE, 2 * MINUTE, 20 * HOUR, 20 * HOUR + MINUTE];
  const axis = axisOf(times);
  const xs = times.map((t) => placeOn(axis, t));
  const gap = (i: number) => (xs[i + 1] ?? 0) - (xs[i] ?? 0);
  expect(gap(0)).toBeCloseTo(gap(1));
  expect(gap(0)).toBeCloseTo(gap(3));
});

test("a pause that dwarfs the rest is cut out, and the order stays", () => {
  const times = [0, MINUTE, 20 * HOUR, 20 * HOUR + MINUTE, 50 * HOUR];
  const axis = axisOf(times);
  expect(axis.map((s) => [s.from, s.to])).toEqual([
    [0, MINUTE],
    [20 * HOUR, 20 * HOUR + MINUTE],
    [50 * HOUR, 50 * HOUR],
  ]);
  const xs = times.map((t) => placeOn(axis, t));
  expect([...xs].sort((a, b) => a - b)).toEqual(xs);
  expect(axis.at(-1)?.x1).toBeCloseTo(1);
  expect(axis[1]?.x0).toBeCloseTo((axis[0]?.x1 ?? 0) + 0.05);
});

test("short conversations are never cut", () => {
  expect(axisOf([0, 1_000, 110_000])).toHaveLength(1);
});

test("there are at most five cuts", () => {
  const times = Array.from({ length: 12 }, (_, i) => 10 ** i * MINUTE);
  expect(axisOf(times)).toHaveLength(6);
});

test("a single event, or several at one time, lie in the middle; no events have no axis", () => {
  expect(placeOn(axisOf([5]), 5)).toBe(0.5);
  expect(placeOn(axisOf([5, 5]), 5)).toBe(0.5);
  expect(axisOf([])).toEqual([]);
});

test("the nearest mark is found in both directions", () => {
  const marks = [
    { x: 0, y: 0 },
    { x: 10, y: 0 },
    { x: 10, y: 20 },
  ];
  expect([nearestTo(marks, { x: 4, y: 1 }), nearestTo(marks, { x: 9, y: 15 }), nearestTo([], { x: 0, y: 0 })]).toEqual([
    0, 2, -1,
  ]);
});
