import { type Table, toCsv } from "@/lib/csv.ts";
import { download, fileName } from "@/lib/download.ts";
import type { EventFeed } from "./feed.ts";
import type { Entry } from "./row.ts";

/** What the list shows as a table; lines that stand for missing events are left out. */
export function eventsTable(entries: Iterable<Entry>): Table {
  const table: Table = {
    columns: [
      ...["Time (UTC)", "Agent", "Event id", "Type", "Content", "Error details", "Error type", "Tool", "Model"],
      ...["Response time (ms)", "Tokens", "Cost ($)", "Feedback", "User", "Conversation", "Session", "Trace", "Receipt"],
    ],
    rows: [],
  };
  for (const row of entries) {
    if (row.kind === "gap") continue;
    table.rows.push([
      ...[row.timestamp, row.agent, row.id, row.type, row.content, row.details, row.errorType, row.tool, row.model],
      ...[row.ms, row.tokens, row.cost, row.feedback, row.user, row.conversation, row.session, row.trace, row.receipt],
    ]);
  }
  return table;
}

export function saveCsv(feed: EventFeed): void {
  download(fileName("events", "csv"), new Blob([toCsv(eventsTable(feed.view))], { type: "text/csv;charset=utf-8" }));
}
