/** What of a filter the server does, and what is left to the browser. Pure. */
import type { EventType, ListEventsParams } from "@/api/generated.ts";
import type { Comparison, NumberField, Term, TextField } from "./filter.ts";
import type { EventRow } from "./row.ts";

/** One question for the history; the events of all of them are merged. */
export type HistorySource = Pick<
  ListEventsParams,
  "agent_id" | "message_type" | "model" | "user_id" | "conversation_id" | "min_response_time_ms"
>;

/** What is known of the text behind `agent:`. */
export interface AgentMatch {
  /** Whether an agent has exactly this id; then only that one is meant. */
  isExact: boolean;
  /** All agents whose ids contain it; null where there are too many to ask for each. */
  ids: readonly string[] | null;
}

export interface Plan {
  /** Empty where no known agent can have such events. */
  sources: HistorySource[];
  /** The same of agents that come later too: where to look for what the stream may have left out. */
  streamedSources: HistorySource[];
  /** Parameters of the stream; null where it could bring nothing. */
  stream: Record<string, string> | null;
  /** Terms that the server cannot answer from the history: only what was loaded is searched. */
  local: Term[];
  matches: (row: EventRow) => boolean;
  /** Changes when other events have to be asked for. */
  serverKey: string;
}

/** Questions for the history at once. */
const MOST_SOURCES = 50;

/** Fields of which the server takes one value, with their parameters. */
const EXACT = { model: "model", user: "user_id", conversation: "conversation_id" } as const;

/** `scope`: the agents that the page is about, empty for all. `agentMatches`: of each text behind `agent:`. */
export function planOf(terms: readonly Term[], scope: readonly string[], agentMatches: ReadonlyMap<string, AgentMatch>): Plan {
  const wanted = (field: TextField) => [
    ...new Set(terms.flatMap((term) => (term.kind === "is" && term.field === field && !term.isNot ? [term.value] : []))),
  ];
  const local = new Set(terms.filter(isLocal));
  const leaveToBrowser = (field: TextField) => {
    for (const term of terms) if (term.kind === "is" && term.field === field) local.add(term);
  };
  const parts = wanted("agent");
  const agents = agentsOf(parts, scope, agentMatches);
  const least = leastMs(terms);
  let sources: HistorySource[] = [least === undefined ? {} : { min_response_time_ms: least }];
  let streamedSources = sources;
  /** Asks for each of the values; where these would be too many questions, the browser looks instead. */
  const multiply = (field: TextField, name: keyof HistorySource, values: readonly string[] | null) => {
    const isTooMany = (asked: HistorySource[]) => values === null || asked.length * values.length > MOST_SOURCES;
    const eachOf = (asked: HistorySource[]) =>
      asked.flatMap((source) => (values ?? []).map((value) => ({ ...source, [name]: value as EventType })));
    if (isTooMany(sources)) leaveToBrowser(field);
    else sources = eachOf(sources);
    const isStreamed = field !== "agent" || agents.isFixed;
    if (isStreamed && !isTooMany(streamedSources)) streamedSources = eachOf(streamedSources);
  };

  if (parts.length > 0 || scope.length > 0) multiply("agent", "agent_id", agents.ids);
  const types = wanted("type");
  if (types.length > 0) multiply("type", "message_type", types);

  const stream: Record<string, string> = {};
  if (agents.isFixed && agents.ids) stream.agents = agents.ids.join(",");
  if (types.length > 0) stream.message_type = types.join(",");
  if (least !== undefined) stream.min_response_time_ms = String(least);
  for (const [field, parameter] of Object.entries(EXACT) as [keyof typeof EXACT, (typeof EXACT)[keyof typeof EXACT]][]) {
    const values = wanted(field);
    if (values.length > 0) multiply(field, parameter, values);
    if (values.length === 1 && values[0]) stream[parameter] = values[0];
  }

  const isHopeless = agents.isFixed && agents.ids?.length === 0;
  return {
    sources,
    streamedSources,
    stream: isHopeless ? null : stream,
    local: terms.filter((term) => local.has(term)),
    matches: matcherOf(terms, scope, agentMatches),
    serverKey: JSON.stringify([sources, stream]),
  };
}

/** Which agents are asked about; `isFixed`: no agent that comes later can belong to them. */
function agentsOf(
  parts: readonly string[],
  scope: readonly string[],
  matches: ReadonlyMap<string, AgentMatch>,
): { ids: readonly string[] | null; isFixed: boolean } {
  if (parts.length === 0) return { ids: scope.length > 0 ? scope : null, isFixed: true };
  const tests = parts.map((part) => agentTest(part, scope, matches));
  if (scope.length > 0) return { ids: scope.filter((id) => tests.some((test) => test(id))), isFixed: true };
  const found = parts.map((part) => matches.get(part));
  const isFixed = found.every((match) => match?.isExact);
  if (found.some((match) => !match?.isExact && !match?.ids)) return { ids: null, isFixed };
  return { ids: [...new Set(parts.flatMap((part, i) => (found[i]?.isExact ? [part] : (found[i]?.ids ?? []))))], isFixed };
}

function agentTest(part: string, scope: readonly string[], matches: ReadonlyMap<string, AgentMatch>): (id: string) => boolean {
  const isExact = scope.length > 0 ? scope.includes(part) : (matches.get(part)?.isExact ?? false);
  if (isExact) return (id) => id === part;
  const small = part.toLowerCase();
  return (id) => id.toLowerCase().includes(small);
}

/** Terms that no parameter of the server can express. */
function isLocal(term: Term): boolean {
  if (term.isNot || term.kind === "text") return true;
  if (term.kind === "compare") return term.field !== "ms" || (term.comparison !== ">" && term.comparison !== ">=");
  return term.field !== "agent" && term.field !== "type" && !(term.field in EXACT);
}

/** The server takes the lower bound itself; whether it is included is looked at here. */
function leastMs(terms: readonly Term[]): number | undefined {
  const bounds = terms.flatMap((term) =>
    term.kind === "compare" && term.field === "ms" && !term.isNot && /^[>=]/.test(term.comparison) ? [term.value] : [],
  );
  return bounds.length > 0 ? Math.max(...bounds) : undefined;
}

type Test = (row: EventRow) => boolean;

/** Whether an event fits every part, by the browser alone. */
function matcherOf(terms: readonly Term[], scope: readonly string[], agentMatches: ReadonlyMap<string, AgentMatch>): Test {
  const tests: Test[] = [];
  const isInScope = new Set(scope);
  if (scope.length > 0) tests.push((row) => isInScope.has(row.agent));
  /** Of several terms with one field one must hold. */
  const either = new Map<TextField, Test[]>();
  for (const term of terms) {
    if (term.kind === "is" && !term.isNot) {
      const test = isTest(term.field, term.value, scope, agentMatches);
      either.set(term.field, [...(either.get(term.field) ?? []), test]);
      continue;
    }
    const test = testOf(term, scope, agentMatches);
    tests.push(term.isNot ? (row) => !test(row) : test);
  }
  for (const group of either.values()) tests.push((row) => group.some((test) => test(row)));
  return (row) => tests.every((test) => test(row));
}

function testOf(term: Term, scope: readonly string[], agentMatches: ReadonlyMap<string, AgentMatch>): Test {
  switch (term.kind) {
    case "text": {
      const small = term.text.toLowerCase();
      return (row) =>
        [row.content, row.details, row.tool, row.errorType, row.metadata].some((text) => text?.toLowerCase().includes(small));
    }
    case "is":
      return isTest(term.field, term.value, scope, agentMatches);
    case "compare": {
      const compare = COMPARE[term.comparison];
      return (row) => {
        const value = row[NUMBERS[term.field]];
        return value !== null && compare(value, term.value);
      };
    }
  }
}

function isTest(field: TextField, value: string, scope: readonly string[], matches: ReadonlyMap<string, AgentMatch>): Test {
  if (field === "agent") {
    const test = agentTest(value, scope, matches);
    return (row) => test(row.agent);
  }
  const name = TEXTS[field];
  return (row) => row[name] === value;
}

const TEXTS = {
  type: "type",
  model: "model",
  user: "user",
  conversation: "conversation",
  session: "session",
  trace: "trace",
  tool: "tool",
  error: "errorType",
} as const satisfies Record<Exclude<TextField, "agent">, keyof EventRow>;

const NUMBERS = { ms: "ms", tokens: "tokens", cost: "cost" } as const satisfies Record<NumberField, keyof EventRow>;

const COMPARE: Record<Comparison, (a: number, b: number) => boolean> = {
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  "=": (a, b) => a === b,
};
