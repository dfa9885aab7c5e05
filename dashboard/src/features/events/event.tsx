/** One event, at an address that lasts. */
import { Link, useParams } from "@tanstack/react-router";
import { EventDetail } from "@/components/event-detail.tsx";
import { button } from "@/components/ui/button.tsx";
import { Card } from "@/components/ui/card.tsx";
import { filterTerm } from "@/lib/filter-term.ts";

export function EventPage() {
  const { agentId = "", timestamp = "", eventId = "" } = useParams({ strict: false });
  const address = `/agents/${encodeURIComponent(agentId)}/events/${encodeURIComponent(timestamp)}/${encodeURIComponent(eventId)}`;
  return (
    <div className="mx-auto flex max-w-3xl flex-col gap-3">
      <nav aria-label="Where this event belongs" className="flex flex-wrap items-center gap-1.5 text-muted-foreground">
        <Link to="/events" search={{ filter: filterTerm("agent", agentId) }} className="link">
          Events of {agentId}
        </Link>
        <span aria-hidden>/</span>
        <h1 className="min-w-0 break-all font-mono text-xs">{eventId}</h1>
      </nav>
      <Card aria-labelledby="event-title" className="p-4">
        <h2 id="event-title" className="sr-only">
          Event
        </h2>
        <EventDetail
          key={address}
          agentId={agentId}
          timestamp={timestamp}
          eventId={eventId}
          missing={
            <>
              <Link to="/pipeline" search={{ find: address }} className={button({ size: "small" })}>
                Where is it in the pipeline?
              </Link>
              <Link to="/events" search={{ filter: filterTerm("agent", agentId) }} className={button({ size: "small" })}>
                Events of this agent
              </Link>
            </>
          }
        />
      </Card>
    </div>
  );
}
