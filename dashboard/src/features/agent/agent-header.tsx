import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Activity, CircleAlert, MessagesSquare } from "lucide-react";
import { agentQuery } from "@/api/queries.ts";
import { Status } from "@/components/status.tsx";
import { Skeleton } from "@/components/ui/skeleton.tsx";
import { Ago, Time } from "@/components/value.tsx";
import { useFailure } from "@/lib/use-failure.ts";

const PAGES = [
  { to: "/events", title: "Events", icon: Activity },
  { to: "/conversations", title: "Conversations", icon: MessagesSquare },
  { to: "/errors", title: "Errors", icon: CircleAlert },
] as const;

/** Who it is, how it is and since when, and the ways to what it did. */
export function AgentHeader({ agentId }: { agentId: string }) {
  return (
    <header className="flex flex-wrap items-center gap-x-4 gap-y-2">
      <div className="min-w-0 flex-[1_1_20rem]">
        <h1 className="wrap-anywhere font-semibold text-base">{agentId}</h1>
        <Condition agentId={agentId} />
      </div>
      <nav aria-label="Of this agent" className="flex flex-wrap gap-1.5">
        {PAGES.map(({ to, title, icon: Icon }) => (
          <Link
            key={to}
            to={to}
            search={{ agents: [agentId] } as never}
            className="inline-flex h-8 items-center gap-1.5 rounded-md border border-control-border/60 bg-card px-3 font-medium hover:bg-muted"
          >
            <Icon aria-hidden className="size-3.5" /> {title}
          </Link>
        ))}
      </nav>
    </header>
  );
}

function Condition({ agentId }: { agentId: string }) {
  const agent = useQuery(agentQuery(agentId));
  const failure = useFailure(agent);
  const { data } = agent;
  if (!data) {
    return failure ? (
      <p className="min-h-6 text-muted-foreground text-xs">How it is cannot be told: {failure.message}</p>
    ) : (
      <Skeleton className="my-0.5 h-5 w-72 max-w-full" />
    );
  }
  return (
    <p className="flex min-h-6 flex-wrap items-center gap-x-3 gap-y-0.5 text-muted-foreground text-xs">
      <span className="flex flex-wrap items-center gap-x-1.5">
        <Status status={data.status} /> {data.status_rule}
      </span>
      <span>
        last seen <Ago time={data.last_seen} className="text-foreground" />
      </span>
      {data.first_seen && (
        <span>
          first seen <Time time={data.first_seen} className="text-foreground" />
        </span>
      )}
    </p>
  );
}
