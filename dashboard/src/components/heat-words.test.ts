import { expect, test } from "vitest";
import { heatDays } from "@/lib/heat.ts";
import { HOUR } from "@/lib/range.ts";
import { cellWords, heatSummary } from "./heat-words.ts";

const START = Date.parse("2026-11-26T08:00:00Z");
const VALUES = [840.25, null, 2100];
const DAYS = heatDays(
  VALUES.map((value, i) => ({ t: START + i * HOUR, value, count: value === null ? 0 : 1200 })),
  "UTC",
);
const SAID = { days: DAYS, unit: "ms", zone: "utc", valueTitle: "p95", countTitle: "response times" } as const;

test("an hour tells its exact value and how many times it comes from", () => {
  expect(cellWords(SAID, 0, 8)).toMatchObject({ what: "p95 840.25 ms of 1,200 response times" });
  expect(cellWords(SAID, 0, 8)?.when).toContain("08:00–09:00");
});

test("an hour without a value is told from one outside the range", () => {
  expect(cellWords(SAID, 0, 9)?.what).toBe("no response times");
  expect(cellWords(SAID, 0, 11)?.what).toBe("not in the range");
  expect(cellWords(SAID, 1, 0)).toBeNull();
});

test("hours that the clocks skip or repeat are explained", () => {
  const day = { t: START, cells: [{ hours: [], value: null, isSkipped: true }] };
  expect(cellWords({ ...SAID, days: [day] }, 0, 0)?.what).toBe("no such hour: the clocks went forward");
  const hours = [100, 200].map((value, i) => ({ t: START + i * HOUR, value, count: 3 }));
  const twice = { t: START, cells: [{ hours, value: 200, isSkipped: false }] };
  expect(cellWords({ ...SAID, days: [twice] }, 0, 0)?.what).toBe(
    "twice, as the clocks went back: p95 100 ms of 3 response times, then p95 200 ms of 3 response times",
  );
});

test("the summary names the highest and the lowest hour", () => {
  const text = heatSummary(SAID);
  expect(text).toContain("p95 of 2 hours with response times: highest 2,100 ms");
  expect(text).toContain("lowest 840.25 ms");
  expect(heatSummary({ ...SAID, days: [] })).toBe("No response times.");
});
