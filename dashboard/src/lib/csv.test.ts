import { expect, test } from "vitest";
import { toCsv } from "./csv.ts";

test("text that a spreadsheet would run is defused, numbers stay numbers", () => {
  const rows = [
    ["=1+1", -5],
    ["+1", 0.5],
    ["-x", null],
    ["@SUM(A1)", Number.NaN],
    ["\tx", 1],
  ];
  const lines = toCsv({ columns: ["a", "b"], rows: rows as never }).split("\r\n");
  expect(lines).toEqual(["a,b", "'=1+1,-5", "'+1,0.5", "'-x,", "'@SUM(A1),", "'\tx,1", ""]);
});

test("commas, quotes and line breaks are quoted", () => {
  expect(toCsv({ columns: ['a"b'], rows: [["x,y"], ["1\n2"]] })).toBe('"a""b"\r\n"x,y"\r\n"1\n2"\r\n');
});
