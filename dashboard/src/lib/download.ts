/** Files that leave the page. */

export function download(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser has begun to read by the next turn of its loop.
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** `agent-tally-traffic-2026-11-26.csv`. */
export function fileName(title: string, extension: string): string {
  const slug = title
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-|-$/g, "");
  return `agent-tally-${slug}-${new Date().toISOString().slice(0, 10)}.${extension}`;
}
