import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { throttle } from "./throttle.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("the first call runs at once, those within the time run once at its end", () => {
  let runs = 0;
  const throttled = throttle(() => runs++, 100);
  throttled.call();
  throttled.call();
  throttled.call();
  expect(runs).toBe(1);
  vi.advanceTimersByTime(100);
  expect(runs).toBe(2);
  vi.advanceTimersByTime(1_000);
  expect(runs).toBe(2);
  throttled.call();
  expect(runs).toBe(3);
});

test("what was cancelled does not run", () => {
  let runs = 0;
  const throttled = throttle(() => runs++, 100);
  throttled.call();
  throttled.call();
  throttled.cancel();
  vi.advanceTimersByTime(1_000);
  expect(runs).toBe(1);
});
