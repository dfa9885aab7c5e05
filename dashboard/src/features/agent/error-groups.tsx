import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ErrorGroup } from "@/api/generated.ts";
import { errorsQuery } from "@/api/queries.ts";
import { Panel } from "@/components/panel.tsx";
import { Sparkline } from "@/components/sparkline.tsx";
import { Ago, Value } from "@/components/value.tsx";
import { useCommon } from "@/lib/common.ts";
import { formatInteger } from "@/lib/format.ts";

/** What goes wrong, most frequent first; each leads to its examples. */
export function ErrorGroups({ agentId, className }: { agentId: string; className?: string }) {
  const { range } = useCommon();
  const query = useQuery(errorsQuery([agentId], range));
  const { data } = query;
  const search = { agents: [agentId] } as never;
  return (
    <Panel
      title="Errors by type"
      note={data && !data.is_complete && `of the newest ${formatInteger(data.total)}`}
      query={query}
      height="h-80"
      isTable
      className={className}
      isEmpty={(errors) => errors.items.length === 0}
      empty="No errors in this range."
      table={(errors) => ({
        columns: ["Type", "Message", "Count", "First seen (UTC)", "Last seen (UTC)"],
        rows: errors.items.map((g) => [g.error_type ?? "", g.shape, g.count, g.first_seen, g.last_seen]),
      })}
      actions={
        <Link to="/errors" search={search} className="link px-1 text-xs">
          {data && data.groups > data.items.length ? `All ${formatInteger(data.groups)}` : "All"}
        </Link>
      }
    >
      {(errors) => (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        <section aria-label="Errors by type and message" tabIndex={0} className="@container min-h-0 flex-1 overflow-y-auto">
          <table className="w-full table-fixed">
            <thead className="sticky top-0 z-10 bg-card text-muted-foreground text-xs">
              <tr>
                <th scope="col" className="py-1 pr-2 text-left font-normal">
                  Error
                </th>
                <th scope="col" className="w-14 px-2 py-1 text-right font-normal">
                  Count
                </th>
                <th scope="col" className="hidden w-28 px-2 py-1 text-right font-normal @lg:table-cell">
                  Trend
                </th>
                <th scope="col" className="hidden w-24 px-2 py-1 text-right font-normal @lg:table-cell">
                  First seen
                </th>
                <th scope="col" className="w-24 py-1 pl-2 text-right font-normal">
                  Last seen
                </th>
              </tr>
            </thead>
            <tbody>
              {errors.items.map((group) => (
                <Group key={group.id} group={group} agentId={agentId} />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </Panel>
  );
}

function Group({ group, agentId }: { group: ErrorGroup; agentId: string }) {
  return (
    <tr className="border-t hover:bg-muted/60">
      <th scope="row" className="py-1.5 pr-2 text-left font-normal">
        <Link
          to="/errors"
          search={{ agents: [agentId], group: group.id } as never}
          title={group.shape}
          className="flex flex-col gap-x-2 hover:underline @lg:flex-row"
        >
          <span className="shrink-0 truncate font-mono text-bad text-xs">{group.error_type ?? "no type"}</span>
          <span className="min-w-0 truncate text-muted-foreground">{group.shape}</span>
        </Link>
      </th>
      <td className="px-2 text-right">
        <Value value={group.count} />
      </td>
      <td className="hidden px-2 @lg:table-cell">
        <Sparkline values={group.trend} color="var(--chart-bad)" width={88} height={20} className="ml-auto" />
      </td>
      <td className="hidden truncate px-2 text-right text-muted-foreground @lg:table-cell">
        <Ago time={group.first_seen} />
      </td>
      <td className="truncate pl-2 text-right text-muted-foreground">
        <Ago time={group.last_seen} />
      </td>
    </tr>
  );
}
