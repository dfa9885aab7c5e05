/** The message shape of a group, cut where placeholders stand. Pure. */

export interface ShapePart {
  text: string;
  isPlaceholder: boolean;
}

/** As the API writes them. */
const PLACEHOLDER = /<(?:n|id|uuid|hex|text|time|url)>/g;

/** What each stands for. */
export const PLACEHOLDERS: Record<string, string> = {
  "<n>": "a number",
  "<id>": "an id",
  "<uuid>": "a UUID",
  "<hex>": "a hexadecimal value",
  "<text>": "a quoted text",
  "<time>": "a time",
  "<url>": "a URL",
};

export function shapeParts(shape: string): ShapePart[] {
  const parts: ShapePart[] = [];
  let at = 0;
  for (const match of shape.matchAll(PLACEHOLDER)) {
    if (match.index > at) parts.push({ text: shape.slice(at, match.index), isPlaceholder: false });
    parts.push({ text: match[0], isPlaceholder: true });
    at = match.index + match[0].length;
  }
  if (at < shape.length) parts.push({ text: shape.slice(at), isPlaceholder: false });
  return parts;
}
