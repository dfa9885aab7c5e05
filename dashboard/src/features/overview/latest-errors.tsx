import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { latestEventsQuery } from "@/api/queries.ts";
import { Panel } from "@/components/panel.tsx";
import { Ago } from "@/components/value.tsx";
import { useCommon } from "@/lib/common.ts";

const ROWS = 20;
/** Errors of all agents that are looked through for those of several chosen ones. */
const AMONG = 200;

/** The newest errors, of all agents or of the one that the page is about. */
export function LatestErrors() {
  const { agents, range } = useCommon();
  const one = agents.length === 1 ? agents[0] : undefined;
  const query = useQuery(
    latestEventsQuery({ message_type: "error", agent_id: one, limit: agents.length > 1 ? AMONG : ROWS }, range),
  );
  const shown = (items: NonNullable<typeof query.data>["items"]) =>
    (agents.length > 1 ? items.filter((event) => agents.includes(event.agent_id)) : items).slice(0, ROWS);
  return (
    <Panel
      title="Latest errors"
      note={agents.length > 1 ? `of these agents, among the newest ${AMONG} of all` : undefined}
      query={query}
      height="h-96"
      isTable
      isEmpty={(page) => shown(page.items).length === 0}
      empty={agents.length > 1 ? `None among the newest ${AMONG} errors of all agents.` : "No errors in this range."}
      table={(page) => ({
        columns: ["Time (UTC)", "Agent", "Type", "Message"],
        rows: shown(page.items).map((e) => [e.timestamp, e.agent_id, e.error_type ?? "", e.error_details ?? e.content ?? ""]),
      })}
      actions={
        <Link to="/errors" className="link px-1 text-xs">
          Grouped
        </Link>
      }
    >
      {(page) => (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <ol aria-label="Latest errors" tabIndex={0} className="min-h-0 flex-1 divide-y overflow-auto">
          {shown(page.items).map((event) => (
            <li key={`${event.agent_id} ${event.timestamp} ${event.event_id}`}>
              <Link
                to="/agents/$agentId/events/$timestamp/$eventId"
                params={{ agentId: event.agent_id, timestamp: event.timestamp, eventId: event.event_id }}
                className="block py-1.5 hover:bg-muted/60"
              >
                <span className="flex items-baseline justify-between gap-2">
                  <span className="truncate font-medium">{event.agent_id}</span>
                  <Ago time={event.timestamp} className="text-muted-foreground text-xs" />
                </span>
                <span className="block truncate">
                  {event.error_type && <span className="mr-1.5 font-mono text-bad text-xs">{event.error_type}</span>}
                  <span className="text-muted-foreground">{event.error_details ?? event.content ?? "no details"}</span>
                </span>
              </Link>
            </li>
          ))}
        </ol>
      )}
    </Panel>
  );
}
