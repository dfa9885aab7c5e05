import { Link } from "@tanstack/react-router";
import type { ErrorGroup } from "@/api/generated.ts";
import { formatInteger } from "@/lib/format.ts";

/** The agents of a group: the first by name, the rest as a number. */
export function Affected({ group, named }: { group: ErrorGroup; named: number }) {
  const shown = group.agents.slice(0, named);
  const more = group.agents_affected - shown.length;
  return (
    <span className="flex min-w-0 items-baseline gap-x-2">
      {shown.map(({ agent_id }) => (
        <Link
          key={agent_id}
          to="/agents/$agentId"
          params={{ agentId: agent_id }}
          preload={false}
          className="link relative z-[1] block min-w-0 truncate py-0.5"
          title={agent_id}
        >
          {agent_id}
        </Link>
      ))}
      {more > 0 && <span className="shrink-0 whitespace-nowrap text-muted-foreground text-xs">+{formatInteger(more)}</span>}
    </span>
  );
}
