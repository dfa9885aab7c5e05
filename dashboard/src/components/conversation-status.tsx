import { CircleCheck, CircleDot, CircleX, type LucideIcon } from "lucide-react";
import type { ConversationStatus as Value } from "@/api/generated.ts";
import { Badge, type Tone } from "./ui/badge.tsx";

const LOOKS: Record<Value, { label: string; tone: Tone; icon: LucideIcon; rule: string }> = {
  active: {
    label: "Active",
    tone: "primary",
    icon: CircleDot,
    rule: "Its last event is less than 5 minutes old, and none said that it ended.",
  },
  completed: {
    label: "Completed",
    tone: "neutral",
    icon: CircleCheck,
    rule: "It ended or has been quiet for 5 minutes, without an error.",
  },
  error: { label: "Error", tone: "bad", icon: CircleX, rule: "At least one of its events is an error." },
};

export const CONVERSATION_STATUSES = ["active", "completed", "error"] as const satisfies readonly Value[];

export function conversationStatusLabel(status: Value): string {
  return LOOKS[status].label;
}

/** How a conversation is, with the rule on hover. */
export function ConversationStatus({ status }: { status: Value }) {
  const { label, tone, icon: Icon, rule } = LOOKS[status];
  return (
    <Badge tone={tone} title={rule}>
      <Icon aria-hidden /> {label}
    </Badge>
  );
}
