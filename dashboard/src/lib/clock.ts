/** The server's time, as far as its answers tell: ranges end when the server's "now" is, whatever this computer's clock says. */

/** The header has whole seconds, and the answer took its time; less than this says nothing. */
const NOTABLE_MS = 3_000;

let offset = 0;

/** Notes the `Date` of an answer. */
export function noteServerDate(date: string | null): void {
  const server = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(server)) return;
  const ahead = server - Date.now();
  offset = Math.abs(ahead) < NOTABLE_MS ? 0 : ahead;
}

/** ms since the epoch. */
export function now(): number {
  return Date.now() + offset;
}
