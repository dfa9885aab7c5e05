/** The frame of everything on a page: title, tools, and the four states that data can be in. One broken panel stays alone. */
import type { UseQueryResult } from "@tanstack/react-query";
import { Ellipsis, RotateCw, Table2 } from "lucide-react";
import { Component, type ReactNode, type RefObject, useId, useRef, useState } from "react";
import { ApiError } from "@/api/http.ts";
import { chartImage, type ImageLegend } from "@/lib/chart-image.ts";
import { cn } from "@/lib/cn.ts";
import { useCommon } from "@/lib/common.ts";
import { type Table, toCsv } from "@/lib/csv.ts";
import { download, fileName } from "@/lib/download.ts";
import { formatTime } from "@/lib/format.ts";
import { useFailure } from "@/lib/use-failure.ts";
import { DataTable } from "./data-table.tsx";
import { Badge } from "./ui/badge.tsx";
import { Button } from "./ui/button.tsx";
import { Card } from "./ui/card.tsx";
import { Menu, MenuItem } from "./ui/menu.tsx";
import { Skeleton } from "./ui/skeleton.tsx";
import { Tooltip } from "./ui/tooltip.tsx";

interface PanelProps<T> {
  title: string;
  /** One sentence on what is shown; a reader sees it on the title, a screen reader reads it. */
  note?: ReactNode;
  query: UseQueryResult<T, Error>;
  /** Class names that give the body its final height, so that nothing jumps when the data comes. */
  height: string;
  isEmpty?: (data: T) => boolean;
  /** What an empty panel says and offers. */
  empty?: ReactNode;
  /** The same data as a table: for those who cannot or do not want to read a chart, and for CSV. */
  table?: (data: T) => Table;
  /** Given where the body is a chart: it can then be saved as a picture. */
  legend?: readonly ImageLegend[];
  /** Whether the body is a table already, so that the tools only offer CSV. */
  isTable?: boolean;
  /** Further controls in the header. */
  actions?: ReactNode;
  className?: string;
  children: (data: T) => ReactNode;
}

export function Panel<T>(props: PanelProps<T>) {
  const { title, note, query, table, legend, isTable = false, actions, className, height } = props;
  const [hasTable, setHasTable] = useState(false);
  const titleId = useId();
  const body = useRef<HTMLDivElement>(null);
  const isReady = query.data !== undefined && !(props.isEmpty?.(query.data) ?? false);
  return (
    <Card aria-labelledby={titleId} aria-busy={query.isPending} className={cn("flex flex-col", className)}>
      <header className="flex min-h-10 items-center gap-2 px-4 pt-2">
        <h2 id={titleId} className="min-w-0 truncate font-semibold text-sm">
          {title}
        </h2>
        {note && <span className="hidden min-w-0 truncate text-muted-foreground text-xs sm:block">{note}</span>}
        <StaleMark query={query} />
        <span className="ml-auto flex items-center gap-1">
          {actions}
          {table && !isTable && (
            <Tooltip text={hasTable ? "Show the chart" : "Show as a table"}>
              <Button
                variant="ghost"
                size="small-icon"
                aria-pressed={hasTable}
                aria-label={`${title}: show as a table`}
                disabled={!isReady}
                onClick={() => setHasTable(!hasTable)}
              >
                <Table2 />
              </Button>
            </Tooltip>
          )}
          {table && (
            <ExportMenu
              title={title}
              body={body}
              legend={hasTable ? undefined : legend}
              table={() => query.data && table(query.data)}
            />
          )}
        </span>
      </header>
      <div ref={body} className={cn("flex min-h-0 min-w-0 flex-col px-4 pt-1 pb-3", height)}>
        <PanelBoundary title={title} onRetry={() => query.refetch()}>
          <PanelBody {...props} hasTable={hasTable} />
        </PanelBoundary>
      </div>
    </Card>
  );
}

function PanelBody<T>({ title, query, isEmpty, empty, table, children, hasTable }: PanelProps<T> & { hasTable: boolean }) {
  const failure = useFailure(query);
  if (query.data === undefined) {
    if (failure) return <PanelError error={failure} onRetry={() => query.refetch()} />;
    return (
      <>
        <span className="sr-only">{title} loads</span>
        <Skeleton className="min-h-8 flex-1" />
      </>
    );
  }
  if (isEmpty?.(query.data)) return <Centred>{empty ?? "No data in this range."}</Centred>;
  if (hasTable && table) return <DataTable label={title} table={table(query.data)} />;
  return children(query.data);
}

function Centred({ children }: { children: ReactNode }) {
  return (
    <div className="flex flex-1 flex-col items-center justify-center gap-2 py-4 text-center text-muted-foreground">
      {children}
    </div>
  );
}

/** What went wrong, the request's id for whoever reads the logs, and another try. */
export function PanelError({ error, onRetry }: { error: Error; onRetry: () => void }) {
  const requestId = error instanceof ApiError ? error.requestId : undefined;
  return (
    <div role="alert" className="flex flex-1 flex-col items-center justify-center gap-2 py-3 text-center">
      <p className="max-w-prose text-balance text-bad">Could not be loaded: {error.message}</p>
      {requestId && <p className="break-all font-mono text-2xs text-muted-foreground">request {requestId}</p>}
      <Button size="small" onClick={onRetry}>
        <RotateCw /> Try again
      </Button>
    </div>
  );
}

/** Says that what is shown could not be brought up to date. */
export function StaleMark<T>({ query, className }: { query: UseQueryResult<T, Error>; className?: string }) {
  const { zone } = useCommon();
  if (query.data === undefined || !query.isError) return null;
  const text = `As of ${formatTime(query.dataUpdatedAt, zone, "clock-second")}; could not be refreshed: ${query.error.message}`;
  return (
    <Tooltip text={text}>
      <button type="button" onClick={() => query.refetch()} className={cn("rounded", className)}>
        <Badge tone="warn">
          <RotateCw aria-hidden /> Stale
          <span className="sr-only">{text}. Try again</span>
        </Badge>
      </button>
    </Tooltip>
  );
}

interface ExportProps {
  title: string;
  body: RefObject<HTMLDivElement | null>;
  legend: readonly ImageLegend[] | undefined;
  table: () => Table | undefined;
}

function ExportMenu({ title, body, legend, table }: ExportProps) {
  const saveCsv = () => {
    const data = table();
    if (data) download(fileName(title, "csv"), new Blob([toCsv(data)], { type: "text/csv;charset=utf-8" }));
  };
  const savePng = async () => {
    const charts = [...(body.current?.querySelectorAll<SVGSVGElement>("svg.recharts-surface, svg[data-chart]") ?? [])];
    if (charts.length > 0) download(fileName(title, "png"), await chartImage(charts, title, legend ?? []));
  };
  const trigger = (
    <Button variant="ghost" size="small-icon" aria-label={`${title}: export`}>
      <Ellipsis />
    </Button>
  );
  return (
    <Menu trigger={trigger} label={`Export ${title}`}>
      <MenuItem onSelect={saveCsv}>Save as CSV</MenuItem>
      {legend && <MenuItem onSelect={() => void savePng()}>Save as PNG</MenuItem>}
    </Menu>
  );
}

/** Keeps a fault in one panel from taking the page down. */
export class PanelBoundary extends Component<
  { title: string; onRetry?: () => void; children: ReactNode },
  { error: Error | null }
> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: unknown): { error: Error } {
    return { error: error instanceof Error ? error : new Error(String(error)) };
  }

  override render(): ReactNode {
    const { error } = this.state;
    if (!error) return this.props.children;
    const retry = () => {
      this.setState({ error: null });
      this.props.onRetry?.();
    };
    return <PanelError error={new Error(`${this.props.title} cannot be shown (${error.message})`)} onRetry={retry} />;
  }
}
