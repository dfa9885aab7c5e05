import { expect, test } from "vitest";
import { coverageOf } from "./coverage.ts";

const answer = (
  count: number,
  hasMore: boolean,
  scope: { agents: number; of: number; complete_from: string | null } | null = null,
) => ({
  items: Array.from({ length: count }) as never[],
  has_more: hasMore,
  scope,
});
const base = { agents: 0, isFiltered: false, zone: "utc" as const };

test("a list that has everything says so", () => {
  expect(coverageOf({ ...base, answer: answer(12, false), shown: 12 })).toBe("All 12 in this range.");
});

test("a cut list says that there is more", () => {
  expect(coverageOf({ ...base, answer: answer(200, true), shown: 200 })).toBe("The newest 200; the range has older ones too.");
});

test("of several agents it says among which they were looked for", () => {
  expect(coverageOf({ ...base, answer: answer(1_000, true), shown: 31, agents: 3 })).toBe(
    "31 of the 3 agents chosen, found among the newest 1,000 of all agents; the range has older ones too.",
  );
});

test("agents that were not looked at are named, and since when all is there", () => {
  const scope = { agents: 200, of: 1_234, complete_from: "2026-11-24T10:05:00Z" };
  expect(coverageOf({ ...base, answer: answer(200, true, scope), shown: 200 })).toBe(
    "The newest 200; the range has older ones too. Looked at the 200 agents seen most recently of 1,234; " +
      "choose one to see all of its conversations. Complete since 24 Nov, 10:05.",
  );
});
