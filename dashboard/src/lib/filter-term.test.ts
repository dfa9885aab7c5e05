import { expect, test } from "vitest";
import { filterTerm } from "./filter-term.ts";

test("values that the filter would cut apart are quoted", () => {
  expect([filterTerm("conversation", "c-1"), filterTerm("error", "no quota"), filterTerm("error", 'a"b\\')]).toEqual([
    "conversation:c-1",
    'error:"no quota"',
    'error:"a\\"b\\\\"',
  ]);
});
