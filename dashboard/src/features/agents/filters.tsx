import { Search } from "lucide-react";
import type { AgentStatus, StatusCounts } from "@/api/generated.ts";
import { AGENT_SORTS, firstOrder } from "@/components/agent-columns.ts";
import { STATUSES, StatusDot, statusLabel } from "@/components/status.tsx";
import { Input } from "@/components/ui/input.tsx";
import { Select } from "@/components/ui/select.tsx";
import { useChangeSearch } from "@/lib/common.ts";
import { formatInteger } from "@/lib/format.ts";

interface FiltersProps {
  text: string;
  onText: (text: string) => void;
  statuses: readonly AgentStatus[];
  sort: string;
  counts: StatusCounts | undefined;
}

export function Filters({ text, onText, statuses, sort, counts }: FiltersProps) {
  return (
    <search aria-label="Filter agents" className="flex flex-wrap items-center gap-2">
      <div className="flex w-full gap-2 sm:w-auto">
        <div className="relative min-w-0 flex-1 sm:w-64 sm:flex-none">
          <Search aria-hidden className="absolute top-2 left-2.5 size-4 text-muted-foreground" />
          <Input
            type="search"
            data-page-filter
            value={text}
            onChange={(event) => onText(event.target.value)}
            placeholder="Search agents"
            aria-label="Search agents"
            aria-keyshortcuts="/"
            spellCheck={false}
            autoComplete="off"
            className="pl-8"
          />
        </div>
        <SortSelect sort={sort} />
      </div>
      <StatusFilter statuses={statuses} counts={counts} />
    </search>
  );
}

const CHIP =
  "flex h-8 items-center gap-1.5 rounded-md border border-control-border/60 bg-card px-2 hover:bg-muted aria-pressed:border-primary aria-pressed:bg-primary-soft";

/** One or several; none means all. */
function StatusFilter({ statuses, counts }: Pick<FiltersProps, "statuses" | "counts">) {
  const change = useChangeSearch();
  const toggle = (status: AgentStatus) => {
    const next = statuses.includes(status) ? statuses.filter((each) => each !== status) : [...statuses, status];
    change({ status: next.length > 0 && next.length < STATUSES.length ? next.join(",") : undefined });
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset does not wrap its buttons among its neighbours
    <div role="group" aria-label="Status" className="contents flex-wrap gap-1.5 sm:flex">
      {STATUSES.map((status) => (
        <button
          key={status}
          type="button"
          aria-pressed={statuses.includes(status)}
          onClick={() => toggle(status)}
          className={CHIP}
        >
          <span aria-hidden className="contents">
            <StatusDot status={status} />
          </span>
          {statusLabel(status)}
          <span className="min-w-3 text-right text-muted-foreground">{counts ? formatInteger(counts[status]) : "–"}</span>
        </button>
      ))}
    </div>
  );
}

/** On small screens, where the list does not show the columns to sort by. */
function SortSelect({ sort }: { sort: string }) {
  const change = useChangeSearch();
  const name = sort.replace(/^-/, "");
  return (
    <Select
      aria-label="Sort by"
      value={name}
      onChange={(event) => {
        const next = AGENT_SORTS.find((each) => each.sort === event.target.value);
        if (next) change({ sort: firstOrder(next.sort, next.isText) });
      }}
      className="w-33 sm:hidden"
    >
      {AGENT_SORTS.map((each) => (
        <option key={each.sort} value={each.sort}>
          {each.title}
        </option>
      ))}
    </Select>
  );
}
