/** Choosing and ordering groups of errors among those that are loaded. Pure. */
import type { ErrorGroup } from "@/api/generated.ts";
import type { Table } from "@/lib/csv.ts";

/** Stands in the address for errors that name no type. */
export const NO_TYPE = "(none)";

export function typeOf(group: Pick<ErrorGroup, "error_type">): string {
  return group.error_type ?? NO_TYPE;
}

export function typeLabel(type: string): string {
  return type === NO_TYPE ? "no type" : type;
}

/** The types with their errors, most first. */
export function typesOf(groups: readonly ErrorGroup[]): { type: string; count: number }[] {
  const counts = new Map<string, number>();
  for (const group of groups) counts.set(typeOf(group), (counts.get(typeOf(group)) ?? 0) + group.count);
  return [...counts].map(([type, count]) => ({ type, count })).sort((a, b) => b.count - a.count || a.type.localeCompare(b.type));
}

export const SORTS = ["count", "agents", "first", "last"] as const;
export type Sort = (typeof SORTS)[number];

export interface Choice {
  type: string | undefined;
  /** Words that must all occur in type, shape or agent. */
  text: string;
  /** What it goes by, with a minus in front for the largest or newest first. */
  sort: string;
}

export function chosen(groups: readonly ErrorGroup[], { type, text, sort }: Choice): ErrorGroup[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = groups.filter((group) => {
    if (type !== undefined && typeOf(group) !== type) return false;
    const said =
      `${typeLabel(typeOf(group))} ${group.shape} ${group.agents.map((agent) => agent.agent_id).join(" ")}`.toLowerCase();
    return words.every((word) => said.includes(word));
  });
  const direction = sort.startsWith("-") ? -1 : 1;
  const name = sort.replace("-", "");
  const key = Object.hasOwn(KEYS, name) ? KEYS[name as Sort] : KEYS.count;
  // As the API has them where they are equal.
  return found.sort((a, b) => direction * (key(a) - key(b)));
}

const KEYS: Record<Sort, (group: ErrorGroup) => number> = {
  count: (group) => group.count,
  agents: (group) => group.agents_affected,
  first: (group) => Date.parse(group.first_seen),
  last: (group) => Date.parse(group.last_seen),
};

export function groupsTable(groups: readonly ErrorGroup[]): Table {
  return {
    columns: [
      "Type",
      "Message",
      "Count",
      "Share (%)",
      "Agents affected",
      "Agents",
      "First seen (UTC)",
      "Last seen (UTC)",
      "Group",
    ],
    rows: groups.map((g) => [
      g.error_type,
      g.shape,
      g.count,
      Number((g.share * 100).toFixed(3)),
      g.agents_affected,
      g.agents.map((agent) => agent.agent_id).join(" "),
      g.first_seen,
      g.last_seen,
      g.id,
    ]),
  };
}
