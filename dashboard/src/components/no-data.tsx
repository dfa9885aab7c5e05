import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { agentQuery, agentsQuery } from "@/api/queries.ts";
import { useChangeSearch, useCommon } from "@/lib/common.ts";
import { formatTime } from "@/lib/format.ts";
import { DAY, HOUR } from "@/lib/range.ts";
import { rangeSearch } from "@/lib/search.ts";
import { Button } from "./ui/button.tsx";

/** Says that the range has no data, and offers to go where the last is: of `agents`, else of those that the bar names. */
export function NoData(props: { agents?: readonly string[] }) {
  const common = useCommon();
  const { zone } = common;
  const agents = props.agents ?? common.agents;
  const change = useChangeSearch();
  const one = agents.length === 1 ? agents[0] : undefined;
  const agent = useQuery({ ...agentQuery(one ?? ""), enabled: one !== undefined });
  const newest = useInfiniteQuery({ ...agentsQuery({ sort: "-last_seen", limit: 1 }), enabled: one === undefined });
  const last = one ? agent.data?.last_seen : newest.data?.pages[0]?.items[0]?.last_seen;
  if (!last) return <p>No data in this range.</p>;
  const at = Date.parse(last);
  const jump = () => change(rangeSearch({ from: Math.floor((at - DAY) / HOUR) * HOUR, to: at + 1 }));
  return (
    <>
      <p>No data in this range. The last event came {formatTime(at, zone)}.</p>
      <Button size="small" onClick={jump}>
        Go there
      </Button>
    </>
  );
}
