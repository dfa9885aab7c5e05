/** What the kinds of events are called. */
import type { EventType } from "@/api/generated.ts";

export const EVENT_LABELS: Record<EventType, string> = {
  user_message: "Message",
  agent_response: "Response",
  error: "Error",
  tool_call: "Tool call",
  feedback: "Feedback",
  conversation_start: "Start",
  conversation_end: "End",
  graph_step: "Step",
  custom_metric: "Metric",
};

export const EVENT_TYPES = Object.keys(EVENT_LABELS) as EventType[];
