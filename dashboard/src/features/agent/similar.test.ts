import { expect, test } from "vitest";
import { searchesFor } from "./similar.ts";

test("the whole name is searched first, then its longest word, then its beginning", () => {
  expect(searchesFor("suport-bot/triage")).toEqual(["suport-bot/triage", "suport", "triage", "sup*"]);
});

test("a name of one word is searched once", () => {
  expect(searchesFor("translator")).toEqual(["translator", "tra*"]);
  expect(searchesFor("x")).toEqual(["x"]);
});
