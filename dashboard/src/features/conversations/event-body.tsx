/** What one event says, by its kind. */
import { CircleCheck, CircleX } from "lucide-react";
import type { Event } from "@/api/generated.ts";
import { cn } from "@/lib/cn.ts";
import { Fold } from "./fold.tsx";
import { hasFailed } from "./timeline-rows.ts";

export function EventBody({ event }: { event: Event }) {
  switch (event.message_type) {
    case "user_message":
      return <Said text={event.content} className="bg-primary-soft" />;
    case "agent_response":
      return <Said text={event.content} className="bg-muted" />;
    case "error":
      return <Wrong event={event} />;
    case "tool_call":
    case "graph_step":
      return <Step event={event} />;
    case "feedback":
      return <Feedback event={event} />;
    default:
      return event.content ? <Fold text={event.content} className="text-muted-foreground" /> : null;
  }
}

function Said({ text, className }: { text: string | null; className: string }) {
  if (!text) return <p className="text-muted-foreground text-xs italic">No text was sent.</p>;
  return <Fold text={text} className={cn("w-fit max-w-[75ch] rounded-lg rounded-tl-sm px-3 py-2", className)} />;
}

function Wrong({ event }: { event: Event }) {
  const text = event.error_details ?? event.content;
  return (
    <div className="w-fit max-w-full rounded-lg border-bad border-l-2 bg-bad-soft px-3 py-2">
      {event.error_type && <p className="font-mono font-semibold text-bad text-xs">{event.error_type}</p>}
      {text ? (
        <Fold text={text} className="font-mono text-xs" />
      ) : (
        <p className="text-muted-foreground text-xs italic">No details were sent.</p>
      )}
      {event.error_details && event.content && <Fold text={event.content} className="mt-1 text-xs" />}
    </div>
  );
}

/** A tool call or a step of a graph: whether it went well, and what it says. */
function Step({ event }: { event: Event }) {
  const isBad = hasFailed(event);
  if (!isBad && !event.content) return null;
  return (
    <div className="max-w-[75ch]">
      {isBad && (
        <p className="text-bad text-xs">
          {event.error_type && <span className="font-mono font-semibold">{event.error_type} </span>}
          {event.error_details}
        </p>
      )}
      {event.content && <Fold text={event.content} className="text-muted-foreground text-xs" />}
    </div>
  );
}

export function Outcome({ event }: { event: Event }) {
  return hasFailed(event) ? (
    <span className="inline-flex items-center gap-1 text-bad [&_svg]:size-3">
      <CircleX aria-hidden /> failed
    </span>
  ) : (
    <span className="inline-flex items-center gap-1 text-muted-foreground [&_svg]:size-3">
      <CircleCheck aria-hidden className="text-ok" /> ok
    </span>
  );
}

function Feedback({ event }: { event: Event }) {
  const score = event.user_feedback;
  return (
    <>
      {score !== null && (
        <p className="flex items-center gap-2">
          <span aria-hidden className="text-warn">
            {"★".repeat(Math.round(score))}
            <span className="text-muted-foreground">{"☆".repeat(5 - Math.round(score))}</span>
          </span>
          {score} of 5
        </p>
      )}
      {event.content && (
        <Fold text={event.content} className="w-fit max-w-[75ch] rounded-lg rounded-tl-sm bg-primary-soft px-3 py-2" />
      )}
    </>
  );
}
