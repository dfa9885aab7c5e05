/** One time axis for a whole conversation. Long pauses are cut out, or the rest would be a single dot. Pure. */

/** A stretch without a cut: from one time (ms) to another, and where it lies, 0 to 1. */
export interface Segment {
  from: number;
  to: number;
  x0: number;
  x1: number;
}

/** A shorter pause is never cut, ms. */
const LEAST_CUT_MS = 120_000;
/** A pause is cut that takes more than this share of what is left of the time. */
const CUT_SHARE = 0.3;
const MOST_CUTS = 5;
/** Width of a cut. */
const CUT_WIDTH = 0.05;
/** Room at the ends of a segment, as a share of all the time that is shown: a single event needs some too. */
const ROOM = 0.04;

/** The axis of times in ascending order. */
export function axisOf(times: readonly number[]): Segment[] {
  const first = times[0];
  const last = times.at(-1);
  if (first === undefined || last === undefined) return [];
  const cuts = cutsOf(times);
  const bounds = [first, ...cuts.flatMap((cut) => [cut.from, cut.to]), last];
  const shown = last - first - cuts.reduce((sum, cut) => sum + cut.to - cut.from, 0);
  const room = shown > 0 ? shown * ROOM : 1;
  const scale = (1 - cuts.length * CUT_WIDTH) / (shown + room * (cuts.length + 1));
  const segments: Segment[] = [];
  let x = 0;
  for (let i = 0; i < bounds.length; i += 2) {
    const [from, to] = [bounds[i] ?? first, bounds[i + 1] ?? last];
    const width = (to - from + room) * scale;
    segments.push({ from, to, x0: x, x1: x + width });
    x += width + CUT_WIDTH;
  }
  return segments;
}

/** The longest pauses, as long as each dwarfs the rest; in the order of time. */
function cutsOf(times: readonly number[]): { from: number; to: number }[] {
  const gaps = times.slice(1).map((to, i) => ({ from: times[i] ?? to, to }));
  gaps.sort((a, b) => b.to - b.from - (a.to - a.from));
  let left = (times.at(-1) ?? 0) - (times[0] ?? 0);
  const cuts: typeof gaps = [];
  for (const gap of gaps) {
    const length = gap.to - gap.from;
    if (cuts.length === MOST_CUTS || length < LEAST_CUT_MS || length <= left * CUT_SHARE) break;
    cuts.push(gap);
    left -= length;
  }
  return cuts.sort((a, b) => a.from - b.from);
}

/** Where a time lies on the axis, 0 to 1; what was cut out lies where the cut ends. */
export function placeOn(axis: readonly Segment[], at: number): number {
  for (const { from, to, x0, x1 } of axis) {
    if (at > to) continue;
    if (at < from || to === from) return at < from ? x0 : (x0 + x1) / 2;
    // Half of the room of a segment is on each side of it.
    const margin = marginOf(axis);
    return x0 + margin + ((at - from) / (to - from)) * (x1 - x0 - 2 * margin);
  }
  return axis.at(-1)?.x1 ?? 0;
}

function marginOf(axis: readonly Segment[]): number {
  const width = axis.reduce((sum, s) => sum + s.x1 - s.x0, 0);
  const shown = axis.reduce((sum, s) => sum + s.to - s.from, 0);
  return shown > 0 ? (width * ROOM) / (1 + ROOM * axis.length) / 2 : 0;
}

/** The mark nearest to a point; both measured in pixels. */
export function nearestTo(marks: readonly { x: number; y: number }[], point: { x: number; y: number }): number {
  let best = -1;
  let least = Number.POSITIVE_INFINITY;
  for (const [i, mark] of marks.entries()) {
    const distance = (mark.x - point.x) ** 2 + (mark.y - point.y) ** 2;
    if (distance < least) {
      least = distance;
      best = i;
    }
  }
  return best;
}
