/** Characters that the API keeps of a title. */
const KEPT = 120;

/** The title of a conversation; null where nobody said anything. */
export function titleOf({ title }: { title: string | null }): string | null {
  return title && [...title].length >= KEPT ? `${title}…` : title;
}
