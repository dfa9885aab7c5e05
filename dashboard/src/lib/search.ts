/** What every page's URL says: whose events, from when to when, in which zone, compared or not. */
import type { Zone } from "./format.ts";
import { PRESETS, type Preset, type Range } from "./range.ts";

/** The parameters that all pages share; an absent one has its default. */
export interface CommonSearch {
  /** Agent ids; all agents where absent. */
  agents?: string[];
  /** `24h` where absent. */
  range?: Preset;
  /** ISO times; both, in place of `range`. */
  from?: string;
  to?: string;
  /** `utc` where absent. */
  tz?: "local";
  /** Whether the range before is left out; it is compared where absent. */
  compare?: "off";
}

type Raw = Record<string, unknown>;

/** An id as the API takes it. */
const AGENT_ID = /^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}$/;
/** The API takes so many agents in one question. */
export const MOST_AGENTS = 50;

export function isAgentId(text: string): boolean {
  return AGENT_ID.test(text);
}

/** Reads the shared parameters; what makes no sense counts as absent. */
export function commonSearch(raw: Raw): CommonSearch {
  const search: CommonSearch = {};
  const agents = textOf(raw.agents)?.split(",").filter(isAgentId).slice(0, MOST_AGENTS);
  if (agents && agents.length > 0) search.agents = [...new Set(agents)];
  const [from, to] = [timeOf(raw.from), timeOf(raw.to)];
  if (from !== undefined && to !== undefined && from < to) {
    search.from = new Date(from).toISOString();
    search.to = new Date(to).toISOString();
  } else {
    const preset = PRESETS.find((p) => p === raw.range);
    if (preset && preset !== "24h") search.range = preset;
  }
  if (raw.tz === "local") search.tz = "local";
  if (raw.compare === "off") search.compare = "off";
  return search;
}

export function rangeOf(search: CommonSearch): Range {
  if (search.from && search.to) return { from: Date.parse(search.from), to: Date.parse(search.to) };
  return { preset: search.range ?? "24h" };
}

export function zoneOf(search: CommonSearch): Zone {
  return search.tz ?? "utc";
}

/** The parameters of a range, those of any other range unset. */
export function rangeSearch(range: Range): Pick<CommonSearch, "range" | "from" | "to"> {
  if ("preset" in range) return { range: range.preset === "24h" ? undefined : range.preset, from: undefined, to: undefined };
  return { range: undefined, from: new Date(range.from).toISOString(), to: new Date(range.to).toISOString() };
}

export function textOf(value: unknown): string | undefined {
  const text = typeof value === "number" ? String(value) : value;
  return typeof text === "string" && text !== "" ? text : undefined;
}

function timeOf(value: unknown): number | undefined {
  const text = textOf(value);
  const time = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}

/** `?agents=a,b&range=7d`: plain text, so that people can read and write it. */
export function parseSearch(text: string): Raw {
  return Object.fromEntries(new URLSearchParams(text));
}

export function stringifySearch(search: Raw): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(search)) {
    const text = Array.isArray(value) ? value.join(",") : textOf(value);
    if (text) parameters.set(name, text);
  }
  const text = parameters.toString().replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%2F", "/");
  return text ? `?${text}` : "";
}
