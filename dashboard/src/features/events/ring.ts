/** A list that grows at both ends and keeps so many entries at most. Index 0 is the newest. */
export class Ring<T> {
  readonly capacity: number;
  private readonly slots: (T | undefined)[];
  /** Slot of the newest entry; older ones follow it, round the end. */
  private head = 0;
  private count = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.slots = new Array<T | undefined>(capacity).fill(undefined);
  }

  get length(): number {
    return this.count;
  }

  get isFull(): boolean {
    return this.count === this.capacity;
  }

  get newest(): T | undefined {
    return this.at(0);
  }

  get oldest(): T | undefined {
    return this.at(this.count - 1);
  }

  at(index: number): T | undefined {
    return index < 0 || index >= this.count ? undefined : this.slots[this.slot(index)];
  }

  /** Answers the oldest entry where it had to go. */
  pushNewest(entry: T): T | undefined {
    const dropped = this.isFull ? this.dropOldest() : undefined;
    this.head = (this.head - 1 + this.capacity) % this.capacity;
    this.slots[this.head] = entry;
    this.count++;
    return dropped;
  }

  /** Answers whether there was room. */
  pushOldest(entry: T): boolean {
    if (this.isFull) return false;
    this.slots[this.slot(this.count)] = entry;
    this.count++;
    return true;
  }

  /** Puts it before the entry that is at `index` now; answers the oldest where it had to go. As fast as `index` is small. */
  insert(index: number, entry: T): T | undefined {
    if (this.isFull && index >= this.count) return entry;
    const dropped = this.pushNewest(entry);
    for (let i = 0; i < index; i++) this.slots[this.slot(i)] = this.slots[this.slot(i + 1)];
    this.slots[this.slot(index)] = entry;
    return dropped;
  }

  dropOldest(): T | undefined {
    if (this.count === 0) return undefined;
    const last = this.slot(this.count - 1);
    const dropped = this.slots[last];
    this.slots[last] = undefined;
    this.count--;
    return dropped;
  }

  clear(): void {
    this.slots.fill(undefined);
    this.head = 0;
    this.count = 0;
  }

  indexOf(entry: T): number {
    for (let i = 0; i < this.count; i++) if (this.slots[this.slot(i)] === entry) return i;
    return -1;
  }

  /** From the newest to the oldest. */
  *[Symbol.iterator](): Generator<T> {
    for (let i = 0; i < this.count; i++) yield this.slots[this.slot(i)] as T;
  }

  private slot(index: number): number {
    return (this.head + index) % this.capacity;
  }
}
