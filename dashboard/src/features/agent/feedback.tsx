import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { lazy, Suspense, useMemo } from "react";
import type { SeriesAnswer } from "@/api/generated.ts";
import { seriesQuery, summaryQuery } from "@/api/queries.ts";
import { Panel } from "@/components/panel.tsx";
import type { ChartSeries } from "@/components/time-chart.tsx";
import { useCommon, useZoom } from "@/lib/common.ts";
import { formatInteger, formatNumber } from "@/lib/format.ts";
import { type Span, spanOf } from "@/lib/range.ts";
import { pointsOf, seriesTable } from "@/lib/series.ts";

const TimeChart = lazy(() => import("@/components/time-chart.tsx").then((m) => ({ default: m.TimeChart })));

const SCORE: readonly ChartSeries[] = [{ key: "score", label: "Mean feedback", color: "var(--chart-4)" }];

interface FeedbackProps {
  agentId: string;
  /** The page's numbers over time. */
  series: UseQueryResult<SeriesAnswer & { span: Span }, Error>;
}

/** What its users think of it, from 1 to 5. */
export function Feedback({ agentId, series }: FeedbackProps) {
  const { range, zone } = useCommon();
  const zoom = useZoom();
  // Feedback is kept by hour and day.
  const isFine = spanOf(range, Date.now()).interval === "5m";
  const hours = useQuery({ ...seriesQuery([agentId], range, "hour"), enabled: isFine });
  const query = isFine ? hours : series;
  const summary = useQuery(summaryQuery([agentId], range));
  const metrics = summary.data?.metrics;
  const points = useMemo(
    () => pointsOf(query.data?.items ?? [], (item) => ({ score: item.average_feedback_score })),
    [query.data],
  );
  const note =
    metrics && metrics.feedback_count > 0
      ? `${formatNumber(metrics.average_feedback_score, "points")} of 5 from ${formatInteger(metrics.feedback_count)} ${metrics.feedback_count === 1 ? "answer" : "answers"}`
      : undefined;
  return (
    <Panel
      title="Feedback over time"
      note={note}
      query={query}
      height="h-64"
      isEmpty={(data) => data.items.every((item) => item.average_feedback_score === null)}
      empty="Nobody gave feedback in this range."
      legend={SCORE}
      table={(data) => seriesTable(data, { "Mean feedback": (p) => p.average_feedback_score })}
      actions={
        <Link to="/events" search={{ agents: [agentId], filter: "type:feedback" } as never} className="link px-1 text-xs">
          Events
        </Link>
      }
    >
      {(data) => (
        <Suspense fallback={null}>
          <TimeChart
            label="Mean feedback over time"
            points={points}
            series={SCORE}
            unit="points"
            interval={data.interval}
            zone={zone}
            onZoom={zoom}
          />
        </Suspense>
      )}
    </Panel>
  );
}
