/** Events of each of the last 60 seconds. */
export class Rate {
  private readonly counts = new Float64Array(SECONDS + 1);
  /** The second that the newest count belongs to. */
  private second = 0;
  private firstSecond: number | null = null;

  /** `now` in ms. */
  add(now: number, events = 1): void {
    this.turn(now);
    const at = this.second % this.counts.length;
    this.counts[at] = (this.counts[at] ?? 0) + events;
  }

  /** Events per full second, oldest first; null before counting began. */
  values(now: number): (number | null)[] {
    this.turn(now);
    return Array.from({ length: SECONDS }, (_, i) => {
      const second = this.second - SECONDS + i;
      return this.firstSecond === null || second < this.firstSecond ? null : (this.counts[second % this.counts.length] ?? 0);
    });
  }

  clear(): void {
    this.counts.fill(0);
    this.firstSecond = null;
    this.second = 0;
  }

  private turn(now: number): void {
    const second = Math.floor(now / 1000);
    this.firstSecond ??= second;
    const passed = Math.min(Math.max(0, second - this.second), this.counts.length);
    for (let i = 0; i < passed; i++) this.counts[(second - i) % this.counts.length] = 0;
    // A clock that was put back counts on in the second where it was.
    this.second = Math.max(this.second, second);
  }
}

export const SECONDS = 60;
