/** A table as it is shown, and as it leaves the page. */

export type Cell = string | number | null;

export interface Table {
  columns: string[];
  rows: Cell[][];
}

/** RFC 4180. Text that a spreadsheet would run as a formula gets an apostrophe in front. */
export function toCsv(table: Table): string {
  const line = (cells: readonly Cell[]) => cells.map(cellOf).join(",");
  return `${[table.columns, ...table.rows].map(line).join("\r\n")}\r\n`;
}

function cellOf(cell: Cell): string {
  if (cell === null) return "";
  if (typeof cell === "number") return Number.isFinite(cell) ? String(cell) : "";
  const text = /^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
