import { expect, test } from "vitest";
import { EVENT_TYPES } from "@/components/event-labels.ts";
import { NUMBER_FIELDS, parseFilter, printFilter, TEXT_FIELDS, type Term } from "./filter.ts";

const is = (field: (typeof TEXT_FIELDS)[number], value: string, isNot = false): Term => ({ kind: "is", field, value, isNot });

test("the filter of the issue is read", () => {
  expect(parseFilter("agent:support type:error ms>2000")).toEqual({
    terms: [
      is("agent", "support"),
      is("type", "error"),
      { kind: "compare", field: "ms", comparison: ">", value: 2000, isNot: false },
    ],
    problems: [],
  });
});

test("bare and quoted text, quotes in values, and not", () => {
  expect(parseFilter(String.raw`timed "rate limit: \"hard\"" -model:"gpt 4" -bad`).terms).toEqual([
    { kind: "text", text: "timed", isNot: false },
    { kind: "text", text: 'rate limit: "hard"', isNot: false },
    is("model", "gpt 4", true),
    { kind: "text", text: "bad", isNot: true },
  ]);
});

test("a value may hold colons and other signs", () => {
  expect(parseFilter("agent:team/bot:v2@eu trace:a=b").terms).toEqual([is("agent", "team/bot:v2@eu"), is("trace", "a=b")]);
});

test("the API's own names work", () => {
  expect(parseFilter("message_type:error USER_ID:u response_time_ms>=5").terms).toEqual([
    is("type", "error"),
    is("user", "u"),
    { kind: "compare", field: "ms", comparison: ">=", value: 5, isNot: false },
  ]);
});

test.each([
  ["ms>2s", 2_000],
  ["ms>1.5min", 90_000],
  ["tokens>1.5k", 1_500],
  ["tokens>2M", 2_000_000],
  ["cost>$0.05", 0.05],
  ["cost>.05", 0.05],
  ["cost>1e-7", 1e-7],
])("%s is a number of its unit", (input, value) => {
  expect(parseFilter(input)).toMatchObject({ terms: [{ value }], problems: [] });
});

test.each([
  ["eror:x", "no field “eror”. Did you mean error?"],
  ["zzzz:x", "Fields are agent, type"],
  ["type:eror", "Did you mean type:error?"],
  ["type:nothing", "Kinds are user_message"],
  ["type:", "of what? For instance type:error"],
  ["agent>3", "takes a colon"],
  ["ms:2000", "is compared: ms>2000"],
  ["ms>", "is compared"],
  ["ms>soon", "“soon” is not a number"],
  ["tokens>$5", "is not a number"],
  ["ms>2k", "is not a number"],
  ['"open', "is not closed"],
  ['model:"gpt', "is not closed"],
  ['""', "The quotes are empty"],
  ["-", "A minus needs something"],
  ["http://x", "no field “http”"],
  ["10:30", "put it in quotes"],
])("%s is explained", (input, words) => {
  const { terms, problems } = parseFilter(input);
  expect(terms).toEqual([]);
  expect(problems).toHaveLength(1);
  expect(problems[0]?.text).toContain(words);
});

test("one bad part does not spoil the rest, and says where it is", () => {
  const { terms, problems } = parseFilter("type:error oops:1 slow");
  expect(terms).toHaveLength(2);
  expect(problems.map(({ start, end }) => "type:error oops:1 slow".slice(start, end))).toEqual(["oops:1"]);
});

/** The same numbers each time (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const LETTERS = ["a", "Z", "0", "-", ":", ">", "<", "=", '"', "\\", " ", "\t", "ü", "😀", ".", "/", "*", "'", "|", "(", ","];

test("whatever is printed is read as the same terms", () => {
  const next = random(7);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T;
  const text = () => Array.from({ length: 1 + Math.floor(next() * 8) }, () => pick(LETTERS)).join("");
  const term = (): Term => {
    const isNot = next() < 0.3;
    const kind = next();
    if (kind < 0.3) return { kind: "text", text: text(), isNot };
    if (kind < 0.7) {
      const field = pick(TEXT_FIELDS);
      return { kind: "is", field, value: field === "type" ? pick(EVENT_TYPES) : text(), isNot };
    }
    const value = Number((next() * 10 ** Math.floor(next() * 12 - 8)).toPrecision(4));
    return { kind: "compare", field: pick(NUMBER_FIELDS), comparison: pick([">", ">=", "<", "<=", "="]), value, isNot };
  };
  for (let i = 0; i < 3_000; i++) {
    const terms = Array.from({ length: Math.floor(next() * 5) }, term);
    expect(parseFilter(printFilter(terms))).toEqual({ terms, problems: [] });
  }
});

test("no input breaks the parser, and each part is either a term or a problem", () => {
  const next = random(11);
  const words = ["agent", "ms", "type", "error", "oops", "cost", "1", "2000", ...LETTERS];
  for (let i = 0; i < 3_000; i++) {
    const input = Array.from({ length: Math.floor(next() * 12) }, () => words[Math.floor(next() * words.length)]).join("");
    const { terms, problems } = parseFilter(input);
    if (input.trim() !== "") expect(terms.length + problems.length).toBeGreaterThan(0);
    for (const problem of problems) expect(input.slice(problem.start, problem.end)).not.toBe("");
    expect(parseFilter(printFilter(terms)).terms).toEqual(terms);
  }
});
