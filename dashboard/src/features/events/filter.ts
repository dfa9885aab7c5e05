/**
 * The language of the filter box: `agent:support type:error ms>2000 -user:u-1 "free text"`.
 *
 * Terms with different fields must all hold; of several terms with one field (`type:error type:feedback`) one must. A minus in
 * front means not. Pure: knows neither the server nor the rows.
 */
import { EVENT_TYPES } from "@/components/event-labels.ts";
import { filterTerm, quoteIf } from "@/lib/filter-term.ts";

export const TEXT_FIELDS = ["agent", "type", "model", "user", "conversation", "session", "trace", "tool", "error"] as const;
export const NUMBER_FIELDS = ["ms", "tokens", "cost"] as const;

export type TextField = (typeof TEXT_FIELDS)[number];
export type NumberField = (typeof NUMBER_FIELDS)[number];
export type Comparison = ">" | ">=" | "<" | "<=" | "=";

export type Term =
  /** The text occurs in what the event says. */
  | { kind: "text"; text: string; isNot: boolean }
  | { kind: "is"; field: TextField; value: string; isNot: boolean }
  | { kind: "compare"; field: NumberField; comparison: Comparison; value: number; isNot: boolean };

/** A part that could not be understood, and why, in words. */
export interface FilterProblem {
  text: string;
  /** Where it is in the input. */
  start: number;
  end: number;
}

export interface Filter {
  terms: Term[];
  problems: FilterProblem[];
}

/** What each field is about, for suggestions and for messages. */
export const FIELD_HELP: Record<TextField | NumberField, { about: string; example: string }> = {
  agent: { about: "an agent’s id or a part of it", example: "agent:support" },
  type: { about: "kind of event", example: "type:error" },
  model: { about: "name of the model", example: "model:gpt-4o" },
  user: { about: "who used the agent", example: "user:u-1" },
  conversation: { about: "id of the conversation", example: "conversation:c-1" },
  session: { about: "the client’s session", example: "session:s-1" },
  trace: { about: "id of the trace", example: "trace:4bf92f35" },
  tool: { about: "name of the tool called", example: "tool:search" },
  error: { about: "kind of the error", example: "error:timeout" },
  ms: { about: "response time in ms", example: "ms>2000" },
  tokens: { about: "tokens of the call", example: "tokens>4000" },
  cost: { about: "cost in dollars", example: "cost>0.05" },
};

/** The API's own names work too. */
const ALIASES: Record<string, TextField | NumberField> = {
  agent_id: "agent",
  message_type: "type",
  model_used: "model",
  user_id: "user",
  conversation_id: "conversation",
  session_id: "session",
  trace_id: "trace",
  tool_name: "tool",
  error_type: "error",
  response_time_ms: "ms",
  token_count: "tokens",
  cost_usd: "cost",
};

/** One term as it stands in the input. */
export interface Piece {
  start: number;
  end: number;
  isNot: boolean;
  /** Absent where it is plain text. */
  field?: { name: string; operator: string };
  value: string;
  isQuoted: boolean;
  isClosed: boolean;
}

/** Reads all terms; what cannot be understood is explained and left out. */
export function parseFilter(input: string): Filter {
  const filter: Filter = { terms: [], problems: [] };
  for (const piece of piecesOf(input)) {
    const read = termOf(piece);
    if (typeof read === "string") filter.problems.push({ text: read, start: piece.start, end: piece.end });
    else filter.terms.push(read);
  }
  return filter;
}

/** Written so that reading it gives the same terms. */
export function printFilter(terms: readonly Term[]): string {
  return terms.map(printTerm).join(" ");
}

export function printTerm(term: Term): string {
  const not = term.isNot ? "-" : "";
  switch (term.kind) {
    case "text":
      return not + quoteIf(/[\s"\\:<>=]|^-|^$/, term.text);
    case "is":
      return not + filterTerm(term.field, term.value);
    case "compare":
      return `${not}${term.field}${term.comparison}${term.value}`;
  }
}

const HEAD = /(-?)(?:([A-Za-z_]+)(>=|<=|:|>|<|=))?/y;

/** Cuts the input at white space outside quotes. */
export function piecesOf(input: string): Piece[] {
  const pieces: Piece[] = [];
  let at = 0;
  for (;;) {
    while (at < input.length && /\s/.test(input.charAt(at))) at++;
    if (at >= input.length) return pieces;
    const start = at;
    HEAD.lastIndex = at;
    const [head = "", minus = "", name, operator] = HEAD.exec(input) ?? [];
    at += head.length;
    const isQuoted = input[at] === '"';
    let value = "";
    let isClosed = true;
    if (isQuoted) {
      isClosed = false;
      for (at++; at < input.length && !isClosed; at++) {
        const char = input.charAt(at);
        if (char === '"') isClosed = true;
        else if (char === "\\" && at + 1 < input.length) value += input.charAt(++at);
        else value += char;
      }
    } else {
      const from = at;
      while (at < input.length && !/\s/.test(input.charAt(at))) at++;
      value = input.slice(from, at);
    }
    const field = name && operator ? { name: name.toLowerCase(), operator } : undefined;
    pieces.push({ start, end: at, isNot: minus === "-", field, value, isQuoted, isClosed });
  }
}

/** The field of this name, the API's names included. */
export function fieldOf(name: string): TextField | NumberField | undefined {
  return (
    [...TEXT_FIELDS, ...NUMBER_FIELDS].find((field) => field === name) ??
    (Object.hasOwn(ALIASES, name) ? ALIASES[name] : undefined)
  );
}

export function isNumberField(field: TextField | NumberField): field is NumberField {
  return (NUMBER_FIELDS as readonly string[]).includes(field);
}

/** The term, or what is wrong with it. */
function termOf(piece: Piece): Term | string {
  const { value, isNot } = piece;
  if (!piece.isClosed) return `The quote before “${value}” is not closed.`;
  if (!piece.field) {
    if (value === "") return piece.isQuoted ? "The quotes are empty." : "A minus needs something after it, such as -type:error.";
    const sign = piece.isQuoted ? null : /[:<>=]/.exec(value);
    if (sign) return `Before “${sign[0]}” a field is expected. To look for the text itself, put it in quotes: "${value}".`;
    return { kind: "text", text: value, isNot };
  }
  const { name, operator } = piece.field;
  const field = fieldOf(name);
  if (!field) {
    const close = closest(name, [...TEXT_FIELDS, ...NUMBER_FIELDS]);
    const hint = close ? `Did you mean ${close}?` : `Fields are ${[...TEXT_FIELDS, ...NUMBER_FIELDS].join(", ")}.`;
    return `There is no field “${name}”. ${hint} To look for the text itself, put it in quotes.`;
  }
  const { example } = FIELD_HELP[field];
  if (isNumberField(field)) {
    if (operator === ":" || value === "")
      return `${field} is a number and is compared: ${example}, or ${example.replace(">", "<")}.`;
    const number = numberOf(field, value);
    if (number === null) return `“${value}” is not a number. Write it as in ${example}.`;
    return { kind: "compare", field, comparison: operator as Comparison, value: number, isNot };
  }
  if (operator !== ":") return `${field} takes a colon: ${example}.`;
  if (value === "") return `${field}: of what? For instance ${example}.`;
  if (field === "type" && !EVENT_TYPES.some((type) => type === value)) {
    const close = closest(value, EVENT_TYPES);
    return `“${value}” is no kind of event. ${close ? `Did you mean type:${close}?` : `Kinds are ${EVENT_TYPES.join(", ")}.`}`;
  }
  return { kind: "is", field, value, isNot };
}

const SUFFIXES: Record<NumberField, Record<string, number>> = {
  ms: { ms: 1, s: 1_000, min: 60_000 },
  tokens: { k: 1_000, m: 1_000_000 },
  cost: {},
};

/** `2000`, `2s`, `1.5k`, `$0.05`. */
function numberOf(field: NumberField, text: string): number | null {
  const [, digits, suffix = ""] = /^\$?(\d+(?:\.\d+)?|\.\d+)(?:e[+-]?\d+)?([a-z]*)$/i.exec(text) ?? [];
  if (digits === undefined || (text.startsWith("$") && field !== "cost")) return null;
  const factor = suffix === "" ? 1 : SUFFIXES[field][suffix.toLowerCase()];
  if (factor === undefined) return null;
  const number = Number(text.slice(text.startsWith("$") ? 1 : 0, text.length - suffix.length)) * factor;
  return Number.isFinite(number) ? number : null;
}

/** The word that was probably meant: it begins so, or at most two letters differ. */
function closest(word: string, words: readonly string[]): string | undefined {
  const text = word.toLowerCase();
  const begins = words.find((each) => text.length >= 3 && (each.startsWith(text) || text.startsWith(each)));
  return begins ?? words.find((each) => distance(text, each) <= Math.min(2, Math.floor(each.length / 2)));
}

/** How many letters must be changed, added or taken away to get from one to the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
