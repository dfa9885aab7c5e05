import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { agentQuery, agentsQuery } from "@/api/queries.ts";
import { useChangeSearch, useCommon } from "@/lib/common.ts";
import { formatTime } from "@/lib/format.ts";
import { DAY, HOUR, spanOf } from "@/lib/range.ts";
import { rangeSearch } from "@/lib/search.ts";
import { Button } from "./ui/button.tsx";

interface NoDataProps {
  /** Whose; those that the bar names where absent. */
  agents?: readonly string[];
  /** What there is none of. */
  what?: string;
}

/** Says that the range has no data, and offers to go where the last is. */
export function NoData({ what = "data", ...props }: NoDataProps) {
  const common = useCommon();
  const { zone, range } = common;
  const agents = props.agents ?? common.agents;
  const change = useChangeSearch();
  const one = agents.length === 1 ? agents[0] : undefined;
  const agent = useQuery({ ...agentQuery(one ?? ""), enabled: one !== undefined });
  const newest = useInfiniteQuery({ ...agentsQuery({ sort: "-last_seen", limit: 1 }), enabled: one === undefined });
  const last = one ? agent.data?.last_seen : newest.data?.pages[0]?.items[0]?.last_seen;
  const at = last ? Date.parse(last) : Number.NaN;
  const span = spanOf(range, Date.now());
  // Where the last event lies in the range, there are events, but none with this.
  if (Number.isNaN(at) || (at >= span.start && at <= span.end)) return <p>No {what} in this range.</p>;
  const jump = () => change(rangeSearch({ from: Math.floor((at - DAY) / HOUR) * HOUR, to: at + 1 }));
  return (
    <>
      <p>
        No {what} in this range. The last event came {formatTime(at, zone)}.
      </p>
      <Button size="small" onClick={jump}>
        Go there
      </Button>
    </>
  );
}
