/** One term of the event filter, as a link to the events writes it: `conversation:c-1`, `error:"no quota"`. */
export function filterTerm(field: string, value: string): string {
  return `${field}:${/[\s"\\]|^$/.test(value) ? `"${value.replace(/["\\]/g, "\\$&")}"` : value}`;
}
