import { CircleCheck, CircleSlash, Moon, TriangleAlert } from "lucide-react";
import type { AgentStatus } from "@/api/generated.ts";
import { Badge, type Tone } from "./ui/badge.tsx";
import { Tooltip } from "./ui/tooltip.tsx";

const LOOKS: Record<AgentStatus, { label: string; tone: Tone; color: string; icon: typeof Moon }> = {
  healthy: { label: "Healthy", tone: "ok", color: "text-ok", icon: CircleCheck },
  degraded: { label: "Degraded", tone: "warn", color: "text-warn", icon: TriangleAlert },
  failing: { label: "Failing", tone: "bad", color: "text-bad", icon: CircleSlash },
  silent: { label: "Silent", tone: "neutral", color: "text-muted-foreground", icon: Moon },
};

export const STATUSES = ["failing", "degraded", "healthy", "silent"] as const satisfies readonly AgentStatus[];

export function statusLabel(status: AgentStatus): string {
  return LOOKS[status].label;
}

/** How an agent is, and on hover or focus the rule that decided it. */
export function Status({ status, rule }: { status: AgentStatus; rule?: string }) {
  const { label, tone, icon: Icon } = LOOKS[status];
  const mark = (
    <Badge tone={tone} {...(rule ? { tabIndex: 0 } : {})}>
      <Icon aria-hidden /> {label}
      {rule && <span className="sr-only">: {rule}</span>}
    </Badge>
  );
  return rule ? <Tooltip text={rule}>{mark}</Tooltip> : mark;
}

/** The sign alone, where there is no room for the word. */
export function StatusDot({ status }: { status: AgentStatus }) {
  const { label, color, icon: Icon } = LOOKS[status];
  return <Icon role="img" aria-label={label} className={`size-3.5 shrink-0 ${color}`} />;
}
