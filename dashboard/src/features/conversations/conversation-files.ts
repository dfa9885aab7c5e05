/** A conversation as files. */
import type { ConversationAnswer, Event } from "@/api/generated.ts";
import { type Table, toCsv } from "@/lib/csv.ts";
import { download, fileName } from "@/lib/download.ts";

export function saveCsv(answer: ConversationAnswer): void {
  const csv = toCsv(eventsTable(answer.events));
  download(fileName(`conversation ${answer.conversation.id}`, "csv"), new Blob([csv], { type: "text/csv;charset=utf-8" }));
}

/** As the API answers it, so that nothing is lost. */
export function saveJson(answer: ConversationAnswer): void {
  const { conversation, events, is_complete, as_of } = answer;
  const json = JSON.stringify({ conversation, events, is_complete, as_of }, null, 2);
  download(fileName(`conversation ${conversation.id}`, "json"), new Blob([json], { type: "application/json" }));
}

function eventsTable(events: readonly Event[]): Table {
  return {
    columns: [
      "Time (UTC)",
      "Kind",
      "Agent",
      "User",
      "Content",
      "Tool",
      "Error type",
      "Error details",
      "Model",
      "Response time (ms)",
      "Tokens",
      "Cost ($)",
      "Feedback",
      "Event id",
    ],
    rows: events.map((e) => [
      e.timestamp,
      e.message_type,
      e.agent_id,
      e.user_id ?? null,
      e.content,
      e.tool_name ?? null,
      e.error_type ?? null,
      e.error_details,
      e.model_used,
      e.response_time_ms,
      e.token_count,
      e.cost_usd,
      e.user_feedback,
      e.event_id,
    ]),
  };
}
