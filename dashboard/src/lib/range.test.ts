import { expect, test } from "vitest";
import { DAY, HOUR, INTERVAL_MS, intervalFor, PRESETS, spanOf, spanParameters } from "./range.ts";

const NOW = Date.parse("2026-11-26T10:57:52.123Z");

test("presets end now and begin with a whole interval", () => {
  for (const preset of PRESETS) {
    const span = spanOf({ preset }, NOW);
    expect(span.end).toBe(NOW);
    expect(span.isLive).toBe(true);
    expect(span.start % INTERVAL_MS[span.interval]).toBe(0);
  }
  expect(spanParameters(spanOf({ preset: "24h" }, NOW))).toEqual({
    start_date: "2026-11-25T10:00:00.000Z",
    end_date: "2026-11-26T10:57:52.122Z",
  });
  expect(spanParameters(spanOf({ preset: "30d" }, NOW))).toEqual({ start_date: "2026-10-28", end_date: "2026-11-26" });
});

test("no chart gets more points than it can show, nor an interval that the API does not have", () => {
  for (let length = HOUR; length <= 400 * DAY; length *= 1.1) {
    const interval = intervalFor(length);
    expect(length / INTERVAL_MS[interval]).toBeLessThanOrEqual(interval === "day" ? 400 : 200);
    if (interval === "5m") expect(length).toBeLessThanOrEqual(2 * DAY);
    if (interval === "hour") expect(length).toBeLessThanOrEqual(31 * DAY);
  }
});

test("a range that has ended is not live", () => {
  expect(spanOf({ from: NOW - DAY, to: NOW - HOUR }, NOW).isLive).toBe(false);
});

test("a range that ends with an hour or a day does not touch the next one", () => {
  const hour = { from: Date.parse("2026-11-25T10:00:00Z"), to: Date.parse("2026-11-25T11:00:00Z") };
  expect(spanParameters(spanOf(hour, NOW)).end_date).toBe("2026-11-25T10:59:59.999Z");
  const days = { from: Date.parse("2026-11-01T00:00:00Z"), to: Date.parse("2026-11-15T00:00:00Z") };
  expect(spanParameters(spanOf(days, NOW))).toEqual({ start_date: "2026-11-01", end_date: "2026-11-14" });
});
