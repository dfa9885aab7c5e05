/** The keyboard: single keys (which can be switched off, WCAG 2.1.4), the palette, and the list of both. */
import { useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useLayoutEffect, useState } from "react";
import { Dialog } from "@/components/ui/dialog.tsx";
import { useChangeSearch } from "@/lib/common.ts";
import { liveClient } from "@/lib/live.ts";
import { PRESET_LABELS, PRESETS } from "@/lib/range.ts";
import { rangeSearch } from "@/lib/search.ts";
import { showOverlay, useOverlay } from "./overlays.ts";
import { PAGES } from "./pages.ts";

const Palette = lazy(() => import("./palette.tsx"));

const KEY = "agent-tally.single-keys";
/** The second key of `g o` must come within this. */
const CHORD_MS = 1_200;

export function Shortcuts() {
  const overlay = useOverlay();
  const [hasSingleKeys, setHasSingleKeys] = useState(() => readFlag());
  const navigate = useNavigate();
  const change = useChangeSearch();

  // Before the page is painted: whoever sees it can use its keys.
  useLayoutEffect(() => {
    // Times are counted from when the page was opened, so 0 would be a key just then.
    let chordSince = Number.NEGATIVE_INFINITY;
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
        event.preventDefault();
        showOverlay("palette");
        return;
      }
      if (!hasSingleKeys || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || isModalOpen()) return;
      const isChord = event.timeStamp - chordSince < CHORD_MS;
      chordSince = Number.NEGATIVE_INFINITY;
      if (isChord) {
        const page = PAGES.find((each) => each.key === event.key);
        if (page) void navigate({ to: page.to });
        return;
      }
      if (event.key === "g") chordSince = event.timeStamp;
      else if (event.key === "?") showOverlay("shortcuts");
      else if (event.key === "l") liveClient.setPaused(liveClient.getState().mode !== "paused");
      else if (event.key === "/") {
        const filter = document.querySelector<HTMLInputElement>("[data-page-filter]");
        if (!filter) return;
        event.preventDefault();
        filter.focus();
      } else {
        const preset = PRESETS[Number(event.key) - 1];
        if (preset) change(rangeSearch({ preset }));
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [hasSingleKeys, navigate, change]);

  const close = () => showOverlay(null);
  const setFlag = (on: boolean) => {
    setHasSingleKeys(on);
    writeFlag(on);
  };
  return (
    <>
      <Dialog isOpen={overlay === "shortcuts"} onClose={close} title="Keyboard shortcuts">
        <div className="p-4">
          <dl className="grid grid-cols-[auto_1fr] items-center gap-x-4 gap-y-2">
            <Row keys={["Ctrl K", "⌘ K"]} text="Search and commands" />
            <Row keys={["?"]} text="This list" />
            <Row keys={["l"]} text="Pause, go live" />
            <Row keys={["/"]} text="To the page’s filter" />
            {PRESETS.map((preset, i) => (
              <Row key={preset} keys={[String(i + 1)]} text={PRESET_LABELS[preset]} />
            ))}
            {PAGES.map((page) => (
              <Row key={page.to} keys={[`g ${page.key}`]} text={page.title} />
            ))}
            <Row keys={["← →"]} text="In a chart: from point to point" />
          </dl>
          <label className="mt-4 flex cursor-pointer items-center gap-2 border-t pt-3">
            <input type="checkbox" checked={hasSingleKeys} onChange={(event) => setFlag(event.target.checked)} />
            Single keys work (switch them off where speech input sets them off)
          </label>
        </div>
      </Dialog>
      <Dialog isOpen={overlay === "palette"} onClose={close} title="Search and commands" hasTitle={false}>
        <Suspense fallback={<div className="h-80" />}>
          <Palette onDone={close} />
        </Suspense>
      </Dialog>
    </>
  );
}

function Row({ keys, text }: { keys: string[]; text: string }) {
  return (
    <>
      <dt className="flex gap-1">
        {keys.map((key) => (
          <kbd key={key} className="whitespace-nowrap rounded border bg-muted px-1.5 py-0.5 font-mono text-2xs">
            {key}
          </kbd>
        ))}
      </dt>
      <dd>{text}</dd>
    </>
  );
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "SELECT", "TEXTAREA"].includes(target.tagName));
}

function isModalOpen(): boolean {
  return document.querySelector("dialog[open], [role=menu]") !== null;
}

function readFlag(): boolean {
  try {
    return localStorage.getItem(KEY) !== "off";
  } catch {
    return true;
  }
}

function writeFlag(on: boolean): void {
  try {
    localStorage.setItem(KEY, on ? "on" : "off");
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
}
