/** One dead letter: why it died, the event or bytes as they were accepted, and the button that publishes it once more. */
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { RotateCw } from "lucide-react";
import { type ReactNode, useState } from "react";
import type { DeadLetterAnswer } from "@/api/generated.ts";
import { ApiError } from "@/api/http.ts";
import { deadLetterQuery, redriveLetter } from "@/api/queries.ts";
import { CopyButton } from "@/components/copy-button.tsx";
import { JsonView } from "@/components/event-json.tsx";
import { Notice } from "@/components/notice.tsx";
import { PanelError } from "@/components/panel.tsx";
import { Button } from "@/components/ui/button.tsx";
import { Dialog } from "@/components/ui/dialog.tsx";
import { Input } from "@/components/ui/input.tsx";
import { Skeleton } from "@/components/ui/skeleton.tsx";
import { Ago, Time, Value } from "@/components/value.tsx";

interface DrawerProps {
  /** The one that is open. */
  position: string | undefined;
  onClose: () => void;
}

export function DeadLetterDrawer({ position, onClose }: DrawerProps) {
  return (
    <Dialog isOpen={position !== undefined} onClose={onClose} title={`Dead letter ${position ?? ""}`} side="right">
      {position !== undefined && <Letter key={position} position={position} />}
    </Dialog>
  );
}

function Letter({ position }: { position: string }) {
  const query = useQuery(deadLetterQuery(position));
  if (query.data) return <Details letter={query.data} />;
  if (query.error) return <PanelError error={query.error} onRetry={() => query.refetch()} />;
  return (
    <div className="flex flex-col gap-4 p-4">
      <span className="sr-only">The dead letter loads</span>
      <Skeleton className="h-16" />
      <Skeleton className="h-64" />
    </div>
  );
}

function Details({ letter }: { letter: DeadLetterAnswer }) {
  return (
    <article aria-label={`Dead letter ${letter.position}`} className="flex flex-col gap-4 p-4">
      <dl className="flex flex-wrap gap-x-6 gap-y-2">
        <Fact title="Reason">{letter.stage ? `${letter.reason}, found at ${letter.stage}` : letter.reason}</Fact>
        <Fact title="Agent">{letter.agent_id ?? "–"}</Fact>
        <Fact title="Died">
          <Time time={letter.died_at} /> <Ago time={letter.died_at} className="text-muted-foreground" />
        </Fact>
        <Fact title="Size">
          <Value value={letter.bytes} /> bytes
        </Fact>
      </dl>
      {letter.detail && <p className="break-words text-muted-foreground">{letter.detail}</p>}
      <Redrive letter={letter} />
      <section aria-label="As it was accepted">
        <h3 className="mb-1 font-semibold text-xs">As it was accepted</h3>
        {letter.event ? (
          <JsonView label="Event" value={letter.event} />
        ) : (
          <p className="max-h-96 overflow-auto whitespace-pre-wrap break-all rounded-md border bg-card px-3 py-2 font-mono text-xs">
            {letter.value.text ?? letter.value.base64.slice(0, 4_000)}
          </p>
        )}
        {letter.is_cut && <Notice className="mt-2">Only its beginning was kept.</Notice>}
        <div className="mt-1 -ml-2 flex flex-wrap items-center gap-x-1">
          <CopyButton text={JSON.stringify(letter, null, 2)} label="Copy all as JSON" />
        </div>
      </section>
      {letter.headers.length > 0 && (
        <section aria-label="Headers">
          <h3 className="mb-1 font-semibold text-xs">Headers</h3>
          <JsonView
            label="Headers"
            value={Object.fromEntries(letter.headers.map((h) => [h.name, h.value.text ?? h.value.base64]))}
          />
        </section>
      )}
    </article>
  );
}

/** Publishes the event again; a conflict of ids needs another id to succeed. */
function Redrive({ letter }: { letter: DeadLetterAnswer }) {
  const [eventId, setEventId] = useState("");
  const client = useQueryClient();
  const isRedriven = letter.redriven_to !== null;
  const redrive = useMutation({
    mutationFn: () => redriveLetter(letter.position, { eventId: eventId.trim() || undefined, again: isRedriven }),
    onSuccess: () => client.invalidateQueries(),
  });
  const needsId = letter.reason === "id_conflict" && letter.event !== null;
  return (
    <section aria-label="Redrive" className="flex flex-col gap-2 rounded-md border px-3 py-2">
      {letter.redriven_to !== null && letter.redriven_at !== null && (
        <p>
          Redriven <Ago time={letter.redriven_at} /> as{" "}
          <Link to="/pipeline" search={{ find: letter.redriven_to }} className="link font-mono text-xs">
            {letter.redriven_to}
          </Link>
        </p>
      )}
      {needsId && (
        <label htmlFor="redrive-id" className="flex flex-col gap-1 text-xs">
          An id of its own, since another event has its id
          <Input
            id="redrive-id"
            value={eventId}
            onChange={(event) => setEventId(event.target.value)}
            spellCheck={false}
            className="font-mono"
          />
        </label>
      )}
      <p className="flex items-center gap-2">
        <Button size="small" disabled={redrive.isPending} onClick={() => redrive.mutate()}>
          <RotateCw /> {redrive.isPending ? "Redriving …" : isRedriven ? "Redrive again" : "Redrive"}
        </Button>
        <span className="text-muted-foreground text-xs">publishes it once more; it counts once</span>
      </p>
      <p role="alert" className="text-bad empty:hidden">
        {redrive.error && refusal(redrive.error)}
      </p>
    </section>
  );
}

function refusal(error: Error): string {
  if (error instanceof ApiError && error.status === 403) {
    return "This session may not redrive: sign in with a key that has the scope “admin” too.";
  }
  return error.message;
}

function Fact({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div>
      <dt className="text-muted-foreground text-xs">{title}</dt>
      <dd>{children}</dd>
    </div>
  );
}
