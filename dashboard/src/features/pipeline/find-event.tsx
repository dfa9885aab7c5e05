/** "Where is my event?": a receipt or an event's permalink comes in, how far it is comes out. */
import { useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { Check, Clock, X } from "lucide-react";
import { type FormEvent, type ReactNode, useEffect, useState } from "react";
import { ApiError } from "@/api/http.ts";
import { eventQuery, receiptQuery } from "@/api/queries.ts";
import { Button } from "@/components/ui/button.tsx";
import { Card } from "@/components/ui/card.tsx";
import { Input } from "@/components/ui/input.tsx";
import { cn } from "@/lib/cn.ts";
import { useChangeSearch } from "@/lib/common.ts";
import { formatNumber } from "@/lib/format.ts";
import { type Sought, soughtOf } from "./sought.ts";

export function FindEvent() {
  const { find = "" } = useSearch({ strict: false }) as { find?: string };
  const change = useChangeSearch();
  const [text, setText] = useState(find);
  useEffect(() => setText(find), [find]);
  const sought = soughtOf(find);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change({ find: text.trim() || undefined });
  };
  return (
    <Card aria-labelledby="find-event" className="min-h-40 px-4 py-2.5">
      <h2 id="find-event" className="font-semibold text-sm">
        Where is my event?
      </h2>
      <form onSubmit={submit} className="mt-2 flex gap-2">
        <Input
          data-page-filter
          value={text}
          onChange={(event) => setText(event.target.value)}
          aria-label="A receipt, or an event’s permalink"
          placeholder="0-3-12345, or an event’s permalink"
          className="font-mono"
        />
        <Button type="submit">Find</Button>
      </form>
      <div className="mt-3" aria-live="polite">
        {find !== "" && sought === null && (
          <p className="text-bad">That is neither a receipt (such as 0-3-12345) nor the permalink of an event.</p>
        )}
        {sought && <Found sought={sought} />}
      </div>
    </Card>
  );
}

function Found({ sought }: { sought: Sought }) {
  const event = useQuery({
    ...eventQuery(sought.event?.agentId ?? "", sought.event?.timestamp ?? "", sought.event?.eventId ?? ""),
    enabled: sought.event !== undefined,
  });
  const receipt = sought.receipt ?? event.data?.event.receipt;
  const progress = useQuery({ ...receiptQuery(receipt ?? ""), enabled: receipt !== undefined });
  const error = event.error ?? progress.error;
  if (error) {
    const isMissing = error instanceof ApiError && error.status === 404;
    return (
      <Step state={isMissing ? "waits" : "bad"} title={isMissing ? "Not here" : "Could not be looked up"}>
        {error.message}
      </Step>
    );
  }
  if (!progress.data) return <p className="text-muted-foreground">Looking …</p>;
  const { logged, counted, lag_ms: lag, dead_letters: dead = [] } = progress.data;
  return (
    <ol className="flex flex-col gap-1.5">
      <Step state={logged ? "done" : "waits"} title="Accepted">
        receipt <span className="font-mono">{receipt}</span>
      </Step>
      {dead.length > 0 ? (
        dead.map((letter) => (
          <Step key={letter.position} state="bad" title="Refused after all">
            <Link to="/pipeline" search={(old) => ({ ...old, dead: letter.position })} className="link font-mono">
              {letter.position}
            </Link>
            : {letter.reason}
            {letter.redriven_to && (
              <>
                , redriven as{" "}
                <Link to="/pipeline" search={(old) => ({ ...old, find: letter.redriven_to })} className="link font-mono">
                  {letter.redriven_to}
                </Link>
              </>
            )}
          </Step>
        ))
      ) : (
        <Step state={counted ? "done" : "waits"} title="Stored and counted">
          {counted ? "every number contains it" : `the oldest event in front of it has waited ${formatNumber(lag, "ms")}`}
        </Step>
      )}
      {event.data && (
        <Step state="done" title="Shown">
          <Link
            to="/agents/$agentId/events/$timestamp/$eventId"
            params={{
              agentId: event.data.event.agent_id,
              timestamp: event.data.event.timestamp,
              eventId: event.data.event.event_id,
            }}
            className="link"
          >
            {event.data.event.agent_id}, {event.data.event.message_type}
          </Link>
        </Step>
      )}
    </ol>
  );
}

const SIGNS = { done: [Check, "text-ok"], waits: [Clock, "text-warn"], bad: [X, "text-bad"] } as const;

function Step({ state, title, children }: { state: keyof typeof SIGNS; title: string; children: ReactNode }) {
  const [Icon, color] = SIGNS[state];
  return (
    <li className="flex list-none items-start gap-2">
      <Icon aria-hidden className={cn("mt-0.5 size-4 shrink-0", color)} />
      <span className="min-w-0 break-words">
        <span className="font-medium">{title}</span> <span className="text-muted-foreground">{children}</span>
      </span>
    </li>
  );
}
