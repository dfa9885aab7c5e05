import { expect, test, vi } from "vitest";
import { type HeatDay, type HourValue, heatDays, heatScale, heatStep, hourSpan } from "./heat.ts";
import { DAY, HOUR } from "./range.ts";

const at = (text: string) => Date.parse(text);

/** So many hours from `start` on, the value of each being its place. */
function hours(start: string, count: number): HourValue[] {
  return Array.from({ length: count }, (_, i) => ({ t: at(start) + i * HOUR, value: i, count: 1 }));
}

const values = (day: HeatDay | undefined) => day?.cells.map((cell) => cell.value);

test("a day has a cell per hour, and hours outside the range are empty", () => {
  const days = heatDays(hours("2026-11-25T22:00:00Z", 5), "UTC");
  expect(days.map((day) => new Date(day.t).toISOString().slice(0, 13))).toEqual(["2026-11-25T22", "2026-11-26T00"]);
  expect(values(days[0])?.slice(20)).toEqual([null, null, 0, 1]);
  expect(values(days[1])?.slice(0, 4)).toEqual([2, 3, 4, null]);
  expect(days[0]?.cells[21]).toEqual({ hours: [], value: null, isSkipped: false });
});

test("hours stand where the zone's clock has them", () => {
  const days = heatDays(hours("2026-11-26T22:00:00Z", 3), "Europe/Berlin");
  expect(days.map((day) => new Date(day.t).toISOString())).toEqual(["2026-11-26T22:00:00.000Z", "2026-11-26T23:00:00.000Z"]);
  expect(values(days[0])?.[23]).toBe(0);
  expect(values(days[1])?.slice(0, 3)).toEqual([1, 2, null]);
});

test("an hour that begins at half past stands at its clock's hour", () => {
  const days = heatDays(hours("2026-11-26T05:00:00Z", 1), "Asia/Kolkata");
  expect(values(days[0])?.[10]).toBe(0);
});

test("the hour that the clocks skip is marked", () => {
  const [day] = heatDays(hours("2026-03-28T23:00:00Z", 23), "Europe/Berlin");
  expect(day?.cells.map((cell) => cell.isSkipped).indexOf(true)).toBe(2);
  expect(day?.cells.filter((cell) => cell.isSkipped)).toHaveLength(1);
  expect(values(day)?.slice(0, 5)).toEqual([0, 1, null, 2, 3]);
});

test("the hour that comes twice shows the larger value and keeps both", () => {
  const [day, next] = heatDays(hours("2026-10-24T22:00:00Z", 26), "Europe/Berlin");
  expect(day?.cells[2]?.hours.map((hour) => hour.value)).toEqual([2, 3]);
  expect(day?.cells[2]?.value).toBe(3);
  expect(values(day)?.at(23)).toBe(24);
  expect(values(next)?.[0]).toBe(25);
});

test("an hour without a value is not outside the range", () => {
  const [day] = heatDays([{ t: at("2026-11-26T00:00:00Z"), value: null, count: 0 }], "UTC");
  expect(day?.cells[0]?.hours).toHaveLength(1);
  expect(day?.cells[0]?.value).toBeNull();
});

test("each step of the scale is the same ratio", () => {
  const scale = heatScale([100, 200, 400, 800, 1600, 3200, 6400]);
  expect(scale).toEqual([200, 400, 800, 1600, 3200]);
  expect([50, 199, 200, 3199, 1e9].map((value) => heatStep(scale, value))).toEqual([0, 0, 1, 4, 5]);
});

test("values that are about the same are all on the middle steps", () => {
  const scale = heatScale([990, 1000, 1010]);
  expect([990, 1010].map((value) => heatStep(scale, value))).toEqual([2, 3]);
});

test("a single outlier does not stretch the scale", () => {
  const scale = heatScale([...Array.from({ length: 99 }, (_, i) => 500 + i), 90_000]);
  expect(scale.at(-1)).toBeLessThan(1200);
  expect(heatStep(scale, 90_000)).toBe(5);
});

test("without values, or with zeros only, there is one step", () => {
  expect(heatScale([])).toEqual([]);
  expect(heatScale([0, 0])).toEqual([]);
  expect(heatStep([], 5)).toBe(0);
});

const NOW = at("2026-11-26T11:20:00Z");
const texts = (span: { start: number; end: number }) => [span.start, span.end].map((t) => new Date(t).toISOString().slice(0, 16));

test("short ranges show the week, today and the six days before", () => {
  for (const length of [HOUR, DAY, 7 * DAY + HOUR]) {
    expect(texts(hourSpan({ start: NOW - length, end: NOW }, NOW, "utc"))).toEqual(["2026-11-20T00:00", "2026-11-26T11:20"]);
  }
});

test("an hour of this week leaves the week in place; an older one shows the week up to its day", () => {
  const hour = at("2026-11-22T10:00:00Z");
  expect(texts(hourSpan({ start: hour, end: hour + HOUR }, NOW, "utc"))).toEqual(["2026-11-20T00:00", "2026-11-26T11:20"]);
  const old = at("2026-10-05T23:00:00Z");
  expect(texts(hourSpan({ start: old, end: old + HOUR }, NOW, "utc"))).toEqual(["2026-09-29T00:00", "2026-10-06T00:00"]);
});

test("longer ranges are shown whole, up to their last 31 days", () => {
  expect(texts(hourSpan({ start: at("2026-10-28T00:00:00Z"), end: NOW }, NOW, "utc"))).toEqual([
    "2026-10-28T00:00",
    "2026-11-26T11:20",
  ]);
  const year = hourSpan({ start: NOW - 365 * DAY, end: NOW }, NOW, "utc");
  expect(texts(year)).toEqual(["2026-10-27T00:00", "2026-11-26T11:20"]);
  expect(year.end - year.start).toBeLessThanOrEqual(31 * DAY);
});

test("31 days of the local zone of which one has 25 hours are cut to what the API answers", () => {
  vi.stubEnv("TZ", "Europe/Berlin");
  const now = at("2026-11-20T11:20:00Z");
  const span = hourSpan({ start: at("2026-10-01T00:00:00Z"), end: at("2026-11-15T23:00:00Z") }, now, "local");
  expect(texts(span)).toEqual(["2026-10-15T23:00", "2026-11-15T23:00"]);
  const week = hourSpan({ start: at("2026-10-28T10:00:00Z"), end: at("2026-10-28T11:00:00Z") }, now, "local");
  expect(texts(week)).toEqual(["2026-10-21T22:00", "2026-10-28T23:00"]);
  vi.unstubAllEnvs();
});
