/** Names with numbers, the first of them as a bar too. */
import { formatExact, formatNumber, type Unit } from "@/lib/format.ts";

interface BarListProps {
  label: string;
  nameTitle: string;
  columns: readonly { title: string; unit: Unit }[];
  rows: readonly { name: string; values: readonly (number | null)[] }[];
  /** Given the name that was clicked. */
  onPick?: (name: string) => void;
}

export function BarList({ label, nameTitle, columns, rows, onPick }: BarListProps) {
  const most = Math.max(...rows.map((row) => row.values[0] ?? 0), 0);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
    <section aria-label={label} tabIndex={0} className="min-h-0 flex-1 overflow-auto">
      <table className="w-full">
        <thead className="sticky top-0 z-10 bg-card text-muted-foreground text-xs">
          <tr>
            <th scope="col" className="py-1 text-left font-normal">
              {nameTitle}
            </th>
            {columns.map((column) => (
              <th key={column.title} scope="col" className="whitespace-nowrap py-1 pl-3 text-right font-normal">
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.name} className="group">
              <th scope="row" className="relative w-full max-w-0 py-0.5 text-left font-normal">
                <span
                  aria-hidden
                  className="absolute inset-y-0.5 left-0 rounded bg-primary-soft"
                  style={{ width: `${most > 0 ? ((row.values[0] ?? 0) / most) * 100 : 0}%` }}
                />
                {onPick ? (
                  <button
                    type="button"
                    className="relative block w-full truncate px-2 py-1 text-left group-hover:underline"
                    onClick={() => onPick(row.name)}
                  >
                    {row.name}
                  </button>
                ) : (
                  <span className="relative block truncate px-2 py-1">{row.name}</span>
                )}
              </th>
              {columns.map((column, i) => (
                <td
                  key={column.title}
                  className="whitespace-nowrap py-0.5 pl-3 text-right"
                  title={formatExact(row.values[i], column.unit)}
                >
                  {formatNumber(row.values[i], column.unit)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
