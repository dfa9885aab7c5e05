import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { CircleCheck, Clock, OctagonX, ShieldQuestion } from "lucide-react";
import { receiptQuery } from "@/api/queries.ts";
import { formatNumber } from "@/lib/format.ts";

interface ReceiptProps {
  /** Absent where it is not known. */
  receipt: string | undefined;
  /** Whether the event was read from where events are stored. */
  isStored: boolean;
}

/** How far an event has come: accepted, stored, counted; or refused after all, and why. */
export function EventReceipt({ receipt, isStored }: ReceiptProps) {
  const progress = useQuery({ ...receiptQuery(receipt ?? ""), enabled: receipt !== undefined });
  const dead = progress.data?.dead_letters?.[0];
  const [Icon, color, text] = dead
    ? [OctagonX, "text-bad", `Accepted, then refused: ${dead.reason}`]
    : !isStored
      ? [Clock, "text-warn", "Accepted, not stored yet"]
      : receipt === undefined || progress.isError
        ? [
            ShieldQuestion,
            "text-muted-foreground",
            receipt ? "Stored; its receipt cannot be read now" : "Stored; it has no receipt",
          ]
        : !progress.data
          ? [CircleCheck, "text-ok", "Stored"]
          : progress.data.counted
            ? [CircleCheck, "text-ok", "Stored and counted: every number contains it"]
            : [Clock, "text-warn", `Stored, not counted yet; what is in front waits ${formatNumber(progress.data.lag_ms, "ms")}`];
  return (
    <p className="flex gap-x-1.5" aria-live="polite">
      <Icon aria-hidden className={`mt-px size-4 shrink-0 ${color}`} />
      <span className="min-w-0 break-words">
        {text}{" "}
        {receipt && (
          <Link to="/pipeline" search={{ find: receipt }} className="link font-mono text-xs" title="Where it is in the pipeline">
            {receipt}
          </Link>
        )}
      </span>
    </p>
  );
}
