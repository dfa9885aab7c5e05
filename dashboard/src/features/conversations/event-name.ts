/** Who or what an event is about, beside its kind. Pure. */
import type { Event } from "@/api/generated.ts";

/** Where clients put the name of a graph's step. */
const STEP_KEYS = ["node", "node_name", "step", "step_name", "name"];
/** Figures of a custom metric that are named. */
const FIGURES = 4;

export function eventName(event: Event): string | null {
  const metadata = (event.metadata ?? {}) as Record<string, unknown>;
  switch (event.message_type) {
    case "tool_call":
      return event.tool_name ?? null;
    case "user_message":
    case "feedback":
      return event.user_id ?? null;
    case "graph_step":
      return STEP_KEYS.map((key) => metadata[key]).find((name) => typeof name === "string") ?? null;
    case "custom_metric":
      return (
        Object.entries(metadata)
          .filter(([, value]) => typeof value === "number")
          .slice(0, FIGURES)
          .map(([key, value]) => `${key} ${value}`)
          .join(", ") || null
      );
    default:
      return null;
  }
}
