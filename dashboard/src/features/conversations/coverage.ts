/** What a list of conversations covers, said in words. Pure. */
import type { ConversationsAnswer } from "@/api/generated.ts";
import { formatInteger, formatTime, type Zone } from "@/lib/format.ts";

/** How many are asked for, at first and then on demand: the server reads all events of each. */
export const LIMITS = [100, 300, 1_000] as const;

interface Covered {
  answer: Pick<ConversationsAnswer, "items" | "has_more" | "scope">;
  /** How many of them are of the agents that the page is about. */
  shown: number;
  /** Agents that the page is about, where they are several; else 0. */
  agents: number;
  isFiltered: boolean;
  zone: Zone;
}

/** Sentences on what is listed, and on what is not. */
export function coverageOf({ answer, shown, agents, isFiltered, zone }: Covered): string {
  const { items, has_more: hasMore, scope } = answer;
  const said: string[] = [];
  const found = `found among the newest ${formatInteger(items.length)}${isFiltered ? " such" : ""} of all agents`;
  const what =
    agents > 0 ? `${formatInteger(shown)} of the ${agents} agents chosen, ${found}` : `The newest ${formatInteger(shown)}`;
  said.push(hasMore ? `${what}; the range has older ones too.` : `All ${formatInteger(shown)} in this range.`);
  if (scope && scope.agents < scope.of) {
    said.push(
      `Looked at the ${formatInteger(scope.agents)} agents seen most recently of ${formatInteger(scope.of)}; choose one to see all of its conversations.`,
    );
  }
  if (scope?.complete_from) said.push(`Complete since ${formatTime(scope.complete_from, zone)}.`);
  return said.join(" ");
}
