import { expect, test } from "vitest";
import { DAY, HOUR } from "./range.ts";
import { tickLabel, ticksOf } from "./ticks.ts";

const START = Date.parse("2026-11-26T10:05:00Z");

test("there are two to eight ticks, all within the axis, on whole hours", () => {
  for (const length of [HOUR, 12 * HOUR, DAY, 7 * DAY, 30 * DAY, 400 * DAY]) {
    const ticks = ticksOf(START, START + length, "utc");
    expect(ticks.length, String(length / HOUR)).toBeGreaterThanOrEqual(2);
    expect(ticks.length).toBeLessThanOrEqual(8);
    expect(ticks.every((t) => t >= START && t <= START + length)).toBe(true);
  }
  expect(ticksOf(START, START + DAY, "utc").every((t) => t % (4 * HOUR) === 0)).toBe(true);
});

test("midnight is named by its day", () => {
  expect(tickLabel(Date.parse("2026-11-27T00:00:00Z"), START, START + DAY, "utc")).toBe("27 Nov");
  expect(tickLabel(Date.parse("2026-11-26T12:00:00Z"), START, START + DAY, "utc")).toBe("12:00");
});
