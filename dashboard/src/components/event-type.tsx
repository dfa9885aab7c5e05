import { Bot, CircleX, Flag, Gauge, LogIn, LogOut, MessageSquare, Star, Waypoints, Wrench } from "lucide-react";
import type { EventType } from "@/api/generated.ts";
import { EVENT_LABELS } from "./event-labels.ts";
import { Badge } from "./ui/badge.tsx";

const ICONS: Record<EventType, typeof Bot> = {
  user_message: MessageSquare,
  agent_response: Bot,
  error: CircleX,
  tool_call: Wrench,
  feedback: Star,
  conversation_start: LogIn,
  conversation_end: LogOut,
  graph_step: Waypoints,
  custom_metric: Gauge,
};

/** What kind an event is. A kind that this page does not know yet is shown by its name. */
export function EventTypeBadge({ type }: { type: string }) {
  const Icon = ICONS[type as EventType] ?? Flag;
  return (
    <Badge tone={type === "error" ? "bad" : "neutral"}>
      <Icon aria-hidden /> {EVENT_LABELS[type as EventType] ?? type}
    </Badge>
  );
}
