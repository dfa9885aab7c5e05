import type { Table } from "@/lib/csv.ts";
import { formatInteger } from "@/lib/format.ts";

/** A plain table of what a chart shows; scrolls within its panel. */
export function DataTable({ label, table }: { label: string; table: Table }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section aria-label={label} tabIndex={0} className="min-h-0 flex-1 overflow-auto">
      <table className="w-full text-xs">
        <thead className="sticky top-0 bg-card text-left text-muted-foreground">
          <tr>
            {table.columns.map((column, i) => (
              <th key={column} scope="col" className={i === 0 ? "py-1 pr-3 font-medium" : "px-3 py-1 text-right font-medium"}>
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, i) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: rows have no identity but their place
            <tr key={i} className="border-t">
              {row.map((cell, j) => (
                <td key={table.columns[j]} className={j === 0 ? "whitespace-nowrap py-1 pr-3" : "px-3 py-1 text-right"}>
                  {cell === null ? "–" : typeof cell === "number" ? numberText(cell) : cell}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function numberText(value: number): string {
  return Number.isInteger(value) ? formatInteger(value) : String(Number(value.toPrecision(6)));
}
