/** One term of the events' filter as text: what a link to events with a certain value is made of. */

const NEEDS_QUOTES = /[\s"\\]|^$/;

/** `user:u-1`, `model:"gpt 4"`. */
export function filterTerm(field: string, value: string): string {
  return `${field}:${quoteIf(NEEDS_QUOTES, value)}`;
}

export function quoteIf(needsQuotes: RegExp, text: string): string {
  return needsQuotes.test(text) ? `"${text.replace(/["\\]/g, "\\$&")}"` : text;
}
