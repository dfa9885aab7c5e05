/** The groups as a table, or as cards where there is little room. */
import { Link } from "@tanstack/react-router";
import { ArrowDown, ArrowUp } from "lucide-react";
import type { ReactNode } from "react";
import type { ErrorGroup, ErrorsAnswer } from "@/api/generated.ts";
import { Ago, Value } from "@/components/value.tsx";
import { cn } from "@/lib/cn.ts";
import { formatExact, formatNumber, type Zone } from "@/lib/format.ts";
import { Affected } from "./affected.tsx";
import type { Sort } from "./groups.ts";
import { Shape } from "./shape.tsx";
import { trendOf, trendText } from "./trend.ts";
import { TrendBars } from "./trend-bars.tsx";

interface GroupRowsProps {
  answer: ErrorsAnswer;
  groups: readonly ErrorGroup[];
  /** The group that is open beside the list. */
  openId: string | undefined;
  sort: string;
  onSort: (sort: string) => void;
  zone: Zone;
}

export function GroupTable({ answer, groups, openId, sort, onSort, zone }: GroupRowsProps) {
  const head = { sort, onSort };
  return (
    <table className="w-full table-fixed">
      <thead className="sticky top-0 z-10 bg-card text-muted-foreground text-xs">
        <tr>
          <th scope="col" className="py-1 pr-2 text-left font-normal">
            Error
          </th>
          <th scope="col" className="w-32 px-2 py-1 text-left font-normal">
            Trend
          </th>
          <SortHead {...head} by="count" className="w-20 text-right">
            Count
          </SortHead>
          <th scope="col" className="w-24 px-2 py-1 text-right font-normal">
            Share
          </th>
          <SortHead {...head} by="agents" className="w-56 text-left max-lg:w-36">
            Agents
          </SortHead>
          <SortHead {...head} by="first" className="hidden w-24 text-right lg:table-cell">
            First seen
          </SortHead>
          <SortHead {...head} by="last" className="w-24 text-right">
            Last seen
          </SortHead>
        </tr>
      </thead>
      <tbody>
        {groups.map((group) => {
          const trend = trendOf(answer, group.trend);
          return (
            <tr
              key={group.id}
              className={cn("group relative h-[52px] border-t hover:bg-muted/60", group.id === openId && "bg-primary-soft/60")}
            >
              <th scope="row" className="pr-2 text-left font-normal">
                <GroupLink group={group} />
              </th>
              <td className="px-2">
                <TrendBars trend={trend} className="h-7 w-full" />
                <span className="sr-only">{trendText(trend, zone)}</span>
              </td>
              <td className="px-2 text-right font-semibold">
                <Value value={group.count} />
              </td>
              <td className="px-2 text-right">
                <Share share={group.share} />
              </td>
              <td className="px-2">
                <Affected group={group} named={2} />
              </td>
              <td className="hidden px-2 text-right text-muted-foreground lg:table-cell">
                <Ago time={group.first_seen} className="relative z-[1]" />
              </td>
              <td className="px-2 text-right text-muted-foreground">
                <Ago time={group.last_seen} className="relative z-[1]" />
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

export function GroupCards({ answer, groups, openId, zone }: Omit<GroupRowsProps, "sort" | "onSort">) {
  return (
    <ol className="divide-y">
      {groups.map((group) => {
        const trend = trendOf(answer, group.trend);
        return (
          <li
            key={group.id}
            className={cn("group relative flex flex-col gap-1.5 py-2.5", group.id === openId && "bg-primary-soft/60")}
          >
            <GroupLink group={group} />
            <span className="flex items-center gap-3">
              <TrendBars trend={trend} className="h-6 min-w-0 flex-1" />
              <span className="sr-only">{trendText(trend, zone)}</span>
              <span className="whitespace-nowrap">
                <Value value={group.count} className="font-semibold" />{" "}
                <span className="text-muted-foreground text-xs">{formatNumber(group.share * 100, "percent")}</span>
              </span>
            </span>
            <span className="flex items-baseline justify-between gap-3 text-xs">
              <Affected group={group} named={1} />
              <Ago time={group.last_seen} className="text-muted-foreground" />
            </span>
          </li>
        );
      })}
    </ol>
  );
}

/** Opens the group; it covers the row or card that it is in. */
function GroupLink({ group }: { group: ErrorGroup }) {
  return (
    <Link
      to="."
      search={(old) => ({ ...old, group: group.id })}
      resetScroll={false}
      preload={false}
      title={group.shape}
      className="block min-w-0 after:absolute after:inset-0 after:rounded focus-visible:outline-none focus-visible:after:outline-2 focus-visible:after:outline-primary focus-visible:after:-outline-offset-2"
    >
      <span
        className={cn("block truncate text-xs", group.error_type ? "font-mono font-semibold text-bad" : "text-muted-foreground")}
      >
        {group.error_type ?? "no type"}
      </span>
      <Shape shape={group.shape} className="line-clamp-2 [overflow-wrap:anywhere] group-hover:underline lg:line-clamp-1" />
    </Link>
  );
}

function Share({ share }: { share: number }) {
  return (
    <span className="flex items-center justify-end gap-1.5" title={formatExact(share * 100, "percent")}>
      <span aria-hidden className="h-1.5 w-8 overflow-hidden rounded-full bg-muted max-lg:hidden">
        <span className="block h-full rounded-full bg-bad/70" style={{ width: `${share * 100}%` }} />
      </span>
      <span className="min-w-12 whitespace-nowrap">{formatNumber(share * 100, "percent")}</span>
    </span>
  );
}

interface SortHeadProps {
  by: Sort;
  sort: string;
  onSort: (sort: string) => void;
  className?: string;
  children: ReactNode;
}

function SortHead({ by, sort, onSort, className, children }: SortHeadProps) {
  const direction = sort === `-${by}` ? "descending" : sort === by ? "ascending" : undefined;
  return (
    <th scope="col" aria-sort={direction} className={cn("px-2 py-1 font-normal", className)}>
      <button
        type="button"
        onClick={() => onSort(direction === "descending" ? by : `-${by}`)}
        className={cn(
          "inline-flex min-h-6 items-center gap-0.5 whitespace-nowrap hover:text-foreground [&_svg]:size-3",
          direction && "font-medium text-foreground",
        )}
      >
        {children}
        {direction === "descending" && <ArrowDown aria-hidden />}
        {direction === "ascending" && <ArrowUp aria-hidden />}
      </button>
    </th>
  );
}
