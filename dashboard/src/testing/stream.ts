/** Stands for the browser's EventSource: what opens it can be seen, what it says is said here. */
import { onTestFinished, vi } from "vitest";
import { liveClient } from "@/lib/live.ts";

export class FakeSource extends EventTarget {
  static opened: FakeSource[] = [];
  onerror: (() => void) | null = null;
  isClosed = false;
  constructor(readonly url: string) {
    super();
    FakeSource.opened.push(this);
  }
  close(): void {
    this.isClosed = true;
  }
  say(name: string, data: object, lastEventId = ""): void {
    this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data), lastEventId }));
  }
  static get last(): FakeSource {
    const last = FakeSource.opened.at(-1);
    if (!last) throw new Error("nothing was opened");
    return last;
  }
  /** Those that are still open. */
  static get open(): FakeSource[] {
    return FakeSource.opened.filter((source) => !source.isClosed);
  }
}

export function stubStream(): void {
  vi.stubGlobal("EventSource", FakeSource);
  FakeSource.opened = [];
}

export const alive = () => ({ as_of: new Date(Date.now() - 200).toISOString(), is_caught_up: true, events: "off" });

/** Opens the tab's stream for one test. */
export function goLive(): void {
  stubStream();
  const stop = liveClient.start();
  liveClient.setAllowed(true);
  onTestFinished(() => {
    stop();
    liveClient.setAllowed(false);
  });
  FakeSource.last.say("heartbeat", alive());
}
