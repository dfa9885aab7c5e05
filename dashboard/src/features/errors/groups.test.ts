import { expect, test } from "vitest";
import type { ErrorGroup } from "@/api/generated.ts";
import { chosen, groupsTable, NO_TYPE, typesOf } from "./groups.ts";

function group(id: string, more: Partial<ErrorGroup>): ErrorGroup {
  return {
    id,
    error_type: "timeout",
    shape: "no answer within <n> s",
    count: 1,
    share: 0.5,
    agents_affected: 1,
    agents: [{ agent_id: "support", count: 1 }],
    first_seen: "2026-11-26T10:00:00Z",
    last_seen: "2026-11-26T11:00:00Z",
    trend: [],
    example: {} as never,
    is_example_cut: false,
    recent: [],
    ...more,
  };
}

const GROUPS = [
  group("a", { count: 9, last_seen: "2026-11-26T10:00:00Z" }),
  group("b", { count: 5, error_type: "rate_limit", shape: "429 from <text>", agents_affected: 7 }),
  group("c", { count: 5, error_type: null, shape: "boom", agents: [{ agent_id: "sales", count: 5 }] }),
  group("d", { count: 3 }),
];
const ids = (choice: Partial<Parameters<typeof chosen>[1]>) =>
  chosen(GROUPS, { type: undefined, text: "", sort: "-count", ...choice }).map((g) => g.id);

test("types are counted over their groups, most first", () => {
  expect(typesOf(GROUPS)).toEqual([
    { type: "timeout", count: 12 },
    { type: NO_TYPE, count: 5 },
    { type: "rate_limit", count: 5 },
  ]);
});

test("type and words choose together, and words look at type, message and agent", () => {
  expect([
    ids({ type: "timeout" }),
    ids({ type: NO_TYPE }),
    ids({ text: "ANSWER within" }),
    ids({ text: "sales" }),
    ids({ text: "zzz" }),
  ]).toEqual([["a", "d"], ["c"], ["a", "d"], ["c"], []]);
});

test("each order has its reverse, and what is equal stays as it came", () => {
  expect([ids({}), ids({ sort: "count" }), ids({ sort: "-agents" }), ids({ sort: "-last" }), ids({ sort: "-nonsense" })]).toEqual(
    [
      ["a", "b", "c", "d"],
      ["d", "b", "c", "a"],
      ["b", "a", "c", "d"],
      ["b", "c", "d", "a"],
      ["a", "b", "c", "d"],
    ],
  );
});

test("the table has a row per group, shares as per cent", () => {
  expect(groupsTable(GROUPS.slice(2, 3)).rows).toEqual([
    [null, "boom", 5, 50, 1, "sales", "2026-11-26T10:00:00Z", "2026-11-26T11:00:00Z", "c"],
  ]);
});
