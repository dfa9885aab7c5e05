import { expect, test } from "vitest";
import { Rate, SECONDS } from "./rate.ts";

const START = 1_700_000_000_000;

test("events are counted by second; the running one is not shown yet", () => {
  const rate = new Rate();
  rate.add(START);
  rate.add(START + 900);
  rate.add(START + 1_100);
  expect(rate.values(START + 1_500).slice(-3)).toEqual([null, null, 2]);
  expect(rate.values(START + 4_000).slice(-5)).toEqual([null, 2, 1, 0, 0]);
});

test("after a minute a second is forgotten", () => {
  const rate = new Rate();
  for (let i = 0; i < 200; i++) rate.add(START + i * 1_000, i);
  const values = rate.values(START + 200_000);
  expect(values).toHaveLength(SECONDS);
  expect(values).toEqual(Array.from({ length: SECONDS }, (_, i) => 140 + i));
  expect(rate.values(START + 1_000_000)).toEqual(new Array(SECONDS).fill(0));
});

test("a clock that was put back loses nothing", () => {
  const rate = new Rate();
  rate.add(START + 5_000);
  rate.add(START);
  expect(rate.values(START + 6_000).at(-1)).toBe(2);
});
