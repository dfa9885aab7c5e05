import { expect, test } from "vitest";
import { formatAgo, formatChange, formatDuration, formatExact, formatNumber, formatTime } from "./format.ts";

test("counts are short and keep their first digits", () => {
  const shown = [0, 7, 999, 999.6, 1_000, 1_234, 12_345, 999_999, 1_000_000, 2_500_000_000, 0.5].map((n) => formatNumber(n));
  expect(shown).toEqual(["0", "7", "999", "1 k", "1 k", "1.23 k", "12.3 k", "1 M", "1 M", "2.5 G", "0.5"]);
});

test("dollars show what is left of a cent", () => {
  expect([0, 0.0031, 0.000_000_12, 0.5, 12.345, 1_234.5, -2].map((n) => formatNumber(n, "usd"))).toEqual([
    "$0",
    "$0.0031",
    "$0.00000012",
    "$0.50",
    "$12.35",
    "$1.23 k",
    "−$2.00",
  ]);
});

test("response times go from milliseconds to minutes", () => {
  expect([0, 0.25, 7.25, 840.4, 1_000, 12_340, 75_000, 250_000].map((n) => formatNumber(n, "ms"))).toEqual([
    "0 ms",
    "0.25 ms",
    "7.3 ms",
    "840 ms",
    "1 s",
    "12.3 s",
    "75 s",
    "4 min 10 s",
  ]);
});

test("nothing is a dash, and zero is not nothing", () => {
  expect([null, undefined, Number.NaN, 0].map((n) => formatNumber(n))).toEqual(["–", "–", "–", "0"]);
  expect(formatExact(null)).toBe("no data");
});

test("durations have two units at most", () => {
  expect([0, 59, 60, 3_661, 90_061].map(formatDuration)).toEqual(["0 s", "59 s", "1 min", "1 h 1 min", "1 d 1 h"]);
});

test("ages have one unit", () => {
  expect([0, 1_000, 12_000, 250_000, 90_000_000, -120_000].map((age) => formatAgo(1e12 - age, 1e12))).toEqual([
    "now",
    "now",
    "12 s ago",
    "4 min ago",
    "1 d ago",
    "in 2 min",
  ]);
});

test("changes have a sign", () => {
  expect([12.44, -3, 0.01, 0, 250, 123_456].map(formatChange)).toEqual(["+12.4 %", "−3 %", "±0 %", "±0 %", "+250 %", "+123 k %"]);
});

test("times are of the zone that is shown", () => {
  expect(formatTime("2026-11-26T10:57:52.123Z", "utc", "ms")).toBe("26 Nov, 10:57:52.123");
  expect(formatTime("nonsense", "utc")).toBe("nonsense");
});
