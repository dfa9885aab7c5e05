import { expect, test } from "vitest";
import { parseFilter, printTerm } from "./filter.ts";
import { type AgentMatch, planOf } from "./plan.ts";
import { rowOf } from "./row.ts";

const KNOWN: Record<string, AgentMatch> = {
  "support-bot": { isExact: true, ids: ["support-bot", "support-bot-2"] },
  support: { isExact: false, ids: ["support-bot", "support-bot-2"] },
  b: { isExact: false, ids: null },
  nobody: { isExact: false, ids: [] },
};

function plan(filter: string, scope: string[] = []) {
  const { terms, problems } = parseFilter(filter);
  expect(problems).toEqual([]);
  const { sources, stream, local, matches } = planOf(terms, scope, new Map(Object.entries(KNOWN)));
  return { sources, stream, local: local.map(printTerm), matches };
}

test("no filter asks for everything", () => {
  expect(plan("")).toMatchObject({ sources: [{}], stream: {}, local: [] });
});

test("what the server can do it does, in the history and in the stream", () => {
  expect(plan("agent:support-bot type:error ms>2000 model:gpt-4o user:u-1 conversation:c-1")).toMatchObject({
    sources: [
      {
        agent_id: "support-bot",
        message_type: "error",
        min_response_time_ms: 2000,
        model: "gpt-4o",
        user_id: "u-1",
        conversation_id: "c-1",
      },
    ],
    stream: {
      agents: "support-bot",
      message_type: "error",
      min_response_time_ms: "2000",
      model: "gpt-4o",
      user_id: "u-1",
      conversation_id: "c-1",
    },
    local: [],
  });
});

test("a part of a name is asked for as the agents that have it; the stream is looked through for new ones", () => {
  expect(plan("agent:support")).toMatchObject({
    sources: [{ agent_id: "support-bot" }, { agent_id: "support-bot-2" }],
    stream: {},
    local: [],
  });
  expect(plan("agent:b")).toMatchObject({ sources: [{}], stream: {}, local: ["agent:b"] });
  expect(plan("agent:nobody")).toMatchObject({ sources: [], stream: {}, local: [] });
});

test("what the stream may have left out is looked for among all agents where new ones may fit", () => {
  const streamed = (filter: string, scope: string[] = []) => {
    return planOf(parseFilter(filter).terms, scope, new Map(Object.entries(KNOWN))).streamedSources;
  };
  expect(streamed("agent:support type:error type:feedback")).toEqual([{ message_type: "error" }, { message_type: "feedback" }]);
  expect(streamed("agent:nobody ms>5")).toEqual([{ min_response_time_ms: 5 }]);
  expect(streamed("agent:support-bot type:error")).toEqual([{ agent_id: "support-bot", message_type: "error" }]);
  expect(streamed("agent:sup", ["support-bot", "sales"])).toEqual([{ agent_id: "support-bot" }]);
});

test("within the agents of the page a part of a name is exact for both", () => {
  expect(plan("agent:sup", ["support-bot", "sales"])).toMatchObject({
    sources: [{ agent_id: "support-bot" }],
    stream: { agents: "support-bot" },
    local: [],
  });
  expect(plan("type:error", ["a", "b"])).toMatchObject({
    sources: [
      { agent_id: "a", message_type: "error" },
      { agent_id: "b", message_type: "error" },
    ],
    stream: { agents: "a,b", message_type: "error" },
  });
  expect(plan("agent:zzz", ["support-bot"])).toMatchObject({ sources: [], stream: null });
});

test("several values of a field are several questions, up to a bound", () => {
  expect(plan("type:error type:feedback user:u-1 user:u-2")).toMatchObject({
    sources: [
      { message_type: "error", user_id: "u-1" },
      { message_type: "error", user_id: "u-2" },
      { message_type: "feedback", user_id: "u-1" },
      { message_type: "feedback", user_id: "u-2" },
    ],
    stream: { message_type: "error,feedback" },
    local: [],
  });
  const many = Array.from({ length: 40 }, (_, i) => `agent-${i}`);
  const { sources, local } = plan("type:error type:feedback", many);
  expect(sources).toHaveLength(40);
  expect(sources[0]).toEqual({ agent_id: "agent-0" });
  expect(local).toEqual(["type:error", "type:feedback"]);
});

test("the rest is left to the browser and named", () => {
  const filter = 'slow "rate limit" -type:error -user:u-1 ms<9000 ms=5 tokens>10 cost>0.5 trace:t session:s tool:x error:y';
  const { sources, stream, local } = plan(filter);
  expect({ sources, stream }).toEqual({ sources: [{ min_response_time_ms: 5 }], stream: { min_response_time_ms: "5" } });
  expect(local.join(" ")).toBe(filter);
});

const ROW = rowOf({
  agent_id: "support-bot",
  event_id: "e",
  timestamp: "2026-11-26T10:00:00.000000Z",
  message_type: "error",
  ...{ content: "Hello", error_details: "Rate LIMIT hit", error_type: "rate_limit", tool_name: "search", model_used: "gpt-4o" },
  ...{
    response_time_ms: 2000,
    token_count: 10,
    cost_usd: 0.5,
    user_id: "u-1",
    conversation_id: "c-1",
    trace_id: "t",
    session_id: "s",
  },
});

test.each([
  ["", true],
  ["agent:support", true],
  ["agent:SUPPORT", true],
  ["agent:support-bot", true],
  ["agent:support-bot-2", false],
  ["-agent:support", false],
  ["-agent:sales", true],
  ["type:error", true],
  ["type:feedback", false],
  ["type:error type:feedback", true],
  ["-type:error", false],
  ["-type:feedback -type:tool_call", true],
  ["ms>2000", false],
  ["ms>=2000", true],
  ["ms>1000 ms<1500", false],
  ["ms=2000", true],
  ["-ms<=2000", false],
  ["tokens>=10 cost<1", true],
  ["limit", true],
  ['"rate limit"', true],
  ["HELLO", true],
  ["search", true],
  ["-limit", false],
  ["hello goodbye", false],
  ["gpt", false],
  ["model:gpt-4o model:other user:u-1 conversation:c-1 trace:t session:s tool:search error:rate_limit", true],
  ["model:gpt", false],
  ["tool:sear", false],
])("%s takes the event: %s", (filter, isTaken) => {
  expect(plan(filter).matches(ROW)).toBe(isTaken);
});

test("a missing number fits no comparison, and its opposite", () => {
  const row = { ...ROW, ms: null };
  expect([plan("ms>0").matches(row), plan("ms<9").matches(row), plan("-ms>0").matches(row)]).toEqual([false, false, true]);
});

test("events of other agents than the page's are not taken", () => {
  expect([plan("", ["sales"]).matches(ROW), plan("", ["support-bot"]).matches(ROW)]).toEqual([false, true]);
});
