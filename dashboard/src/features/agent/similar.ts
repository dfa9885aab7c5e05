/** Parts of a name shorter than this are in many others. */
const SHORTEST_WORD = 4;
const BEGINNING = 3;

/** What to search for, one after the other, to find names like this one: the whole, its words, its beginning. */
export function searchesFor(agentId: string): string[] {
  const words = agentId
    .split(/[^A-Za-z0-9]+/)
    .filter((word) => word.length >= SHORTEST_WORD)
    .sort((a, b) => b.length - a.length);
  const beginning = agentId.length > BEGINNING ? [`${agentId.slice(0, BEGINNING)}*`] : [];
  return [...new Set([agentId, ...words, ...beginning])];
}
