/** How each kind of event looks on the timeline: its icon, its lane on the strip and its colour. */
import { Bot, CircleX, Flag, Gauge, type LucideIcon, Play, Star, User, Waypoints, Wrench } from "lucide-react";
import type { Kind } from "./timeline-rows.ts";

/** Lanes of the strip, from top to bottom. */
export const LANES = ["User", "Agent", "Tools", "Errors", "Other"] as const;
export type Lane = (typeof LANES)[number];

/** Shapes differ by lane, so that colour is not the only sign. */
export type Shape = "dot" | "square" | "diamond" | "cross" | "ring";

interface Look {
  icon: LucideIcon;
  lane: Lane;
  shape: Shape;
  color: string;
}

const OTHER = { lane: "Other", shape: "ring", color: "var(--chart-6)" } as const;

export const LOOKS: Record<Kind, Look> = {
  user_message: { icon: User, lane: "User", shape: "dot", color: "var(--chart-1)" },
  agent_response: { icon: Bot, lane: "Agent", shape: "square", color: "var(--chart-3)" },
  tool_call: { icon: Wrench, lane: "Tools", shape: "diamond", color: "var(--chart-4)" },
  error: { icon: CircleX, lane: "Errors", shape: "cross", color: "var(--chart-bad)" },
  feedback: { ...OTHER, icon: Star },
  graph_step: { ...OTHER, icon: Waypoints },
  custom_metric: { ...OTHER, icon: Gauge },
  conversation_start: { ...OTHER, icon: Play },
  conversation_end: { ...OTHER, icon: Flag },
};
