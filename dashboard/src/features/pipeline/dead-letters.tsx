/** The newest dead letters as rows; one that is opened shows beside them. */
import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import type { DeadLettersAnswer } from "@/api/generated.ts";
import { deadLettersQuery } from "@/api/queries.ts";
import { Panel } from "@/components/panel.tsx";
import { Badge } from "@/components/ui/badge.tsx";
import { Ago, Time } from "@/components/value.tsx";
import { useChangeSearch } from "@/lib/common.ts";
import type { Table } from "@/lib/csv.ts";
import { DeadLetterDrawer } from "./dead-letter-drawer.tsx";

export function DeadLetters() {
  const { dead } = useSearch({ strict: false }) as { dead?: string };
  const change = useChangeSearch();
  const query = useQuery(deadLettersQuery());
  return (
    <>
      <Panel
        title="Latest dead letters"
        note="newest first; open one to see and redrive it"
        query={query}
        height="max-h-96 min-h-24"
        isTable
        isEmpty={(answer) => answer.items.length === 0}
        empty="None: every accepted event could be counted."
        table={tableOf}
      >
        {(answer) => (
          // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
          <section aria-label="Dead letters, newest first" tabIndex={0} className="min-h-0 flex-1 overflow-auto">
            <table className="w-full text-xs">
              <thead className="sticky top-0 bg-card text-left text-muted-foreground">
                <tr>
                  {["Position", "Reason", "Agent", "Died", "Redriven"].map((title) => (
                    <th key={title} scope="col" className="py-1 pr-3 font-medium">
                      {title}
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {answer.items.map((letter) => (
                  <tr key={letter.position} className="border-t hover:bg-muted/60">
                    <td className="py-1 pr-3">
                      <button type="button" className="link font-mono" onClick={() => change({ dead: letter.position })}>
                        {letter.position}
                      </button>
                    </td>
                    <td className="py-1 pr-3">
                      <Badge tone={letter.redriven_to ? "neutral" : "bad"}>{letter.reason}</Badge>
                    </td>
                    <td className="max-w-64 truncate py-1 pr-3">{letter.agent_id ?? "–"}</td>
                    <td className="py-1 pr-3">
                      <Ago time={letter.died_at} />
                    </td>
                    <td className="py-1 pr-3">{letter.redriven_at ? <Ago time={letter.redriven_at} /> : "–"}</td>
                  </tr>
                ))}
              </tbody>
            </table>
            <Ends answer={answer} />
          </section>
        )}
      </Panel>
      <DeadLetterDrawer position={dead} onClose={() => change({ dead: undefined })} />
    </>
  );
}

function Ends({ answer }: { answer: DeadLettersAnswer }) {
  if (answer.next_key) {
    return (
      <p className="border-t py-1.5 text-muted-foreground text-xs">
        Older ones: <code className="font-mono">agent-tally dead-letters list</code>
      </p>
    );
  }
  if (!answer.complete_from) return null;
  return (
    <p className="border-t py-1.5 text-muted-foreground text-xs">
      Those that died before <Time time={answer.complete_from} /> are no longer listed.
    </p>
  );
}

function tableOf(answer: DeadLettersAnswer): Table {
  return {
    columns: ["Position", "Reason", "Detail", "Agent", "Event", "Died (UTC)", "Bytes", "Redriven (UTC)", "Redriven to"],
    rows: answer.items.map((l) => [
      l.position,
      l.reason,
      l.detail,
      l.agent_id,
      l.event_id,
      l.died_at,
      l.bytes,
      l.redriven_at,
      l.redriven_to,
    ]),
  };
}
