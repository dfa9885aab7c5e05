import { expect, test } from "vitest";
import { trendOf, trendRows, trendText } from "./trend.ts";

const trend = (counts: number[]) => trendOf({ trend_start: "2026-11-26T10:00:00Z", trend_interval_s: 1_800 }, counts);

test("a trend is said in words", () => {
  expect([trendText(trend([0, 12, 3]), "utc"), trendText(trend([0, 0]), "utc"), trendText(trend([]), "utc")]).toEqual([
    "most 12 at 26 Nov, 10:30, 3 in the newest 30 min",
    "none",
    "none",
  ]);
});

test("its table has the intervals with errors, newest first", () => {
  expect(trendRows(trend([1, 0, 2]))).toEqual([
    { at: Date.parse("2026-11-26T11:00:00Z"), count: 2 },
    { at: Date.parse("2026-11-26T10:00:00Z"), count: 1 },
  ]);
});
