import { expect, test } from "vitest";
import { suggestionsFor, take, typedAt } from "./suggest.ts";

/** The cursor is where the bar is. */
function suggest(marked: string, known: string[] = []) {
  const cursor = marked.indexOf("|");
  const typed = typedAt(marked.replace("|", ""), cursor);
  return { typed, ...suggestionsFor(typed, known) };
}

const texts = (marked: string, known?: string[]) => suggest(marked, known).options.map((option) => option.text);

test("at the beginning all fields are offered", () => {
  expect(texts("|").slice(0, 3)).toEqual(["agent:", "type:", "model:"]);
  expect(texts("|")).toContain("cost>");
  expect(texts("type:error |")).toContain("ms>");
});

test("a word is the beginning of a field, or a part of a type", () => {
  expect(texts("to|")).toEqual(["tool:", "tokens>", "type:tool_call", "type:custom_metric"]);
  expect(texts("err|")).toEqual(["error:", "type:error"]);
  expect(texts("-err|")).toEqual(["-error:", "-type:error"]);
});

test("values come from what is known, by any part, quoted where needed", () => {
  expect(texts("agent:bot|", ["support-bot", "sales", "Bot two"])).toEqual(["agent:support-bot", 'agent:"Bot two"']);
  expect(texts("type:fee|")).toEqual(["type:feedback"]);
  expect(texts("agent_id:s|", ["sales"])).toEqual(["agent:sales"]);
});

test("nothing is offered for what is typed already, for numbers, and for fields that do not exist", () => {
  expect(texts("type:error|")).toEqual([]);
  expect(texts("agent:sales|", ["sales", "sales-2"])).toEqual(["agent:sales-2"]);
  expect(texts("ms>2|")).toEqual([]);
  expect(texts("oops:x|", ["x"])).toEqual([]);
});

test("a suggestion replaces the term in which the cursor is", () => {
  const { start, end, options } = suggest("type:error age|nt ms>5");
  expect([start, end]).toEqual([11, 16]);
  const [option] = options;
  expect(option && take("type:error agent ms>5", { start, end }, option)).toEqual({ text: "type:error agent:ms>5", cursor: 17 });
  expect(take("a", { start: 0, end: 1 }, { text: "type:error", about: "", isWhole: true })).toEqual({
    text: "type:error ",
    cursor: 11,
  });
});
