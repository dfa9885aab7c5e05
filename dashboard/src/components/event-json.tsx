/** JSON for reading: parts fold, kinds of values differ in colour and in how they are written. */
import { ChevronRight } from "lucide-react";
import { type ReactNode, useState } from "react";
import { Button } from "./ui/button.tsx";

/** Levels that are open at first, and how many entries a part may have to be. */
const OPEN_LEVELS = 2;
const OPEN_ENTRIES = 30;
/** Entries that are shown at once. */
const SHOWN_ENTRIES = 100;

export function JsonView({ value, label }: { value: unknown; label: string }) {
  return (
    <figure aria-label={label} className="break-words rounded-md border bg-card px-3 py-2 font-mono text-xs leading-5">
      <Entries value={value} level={0} />
    </figure>
  );
}

function Entries({ value, level }: { value: unknown; level: number }) {
  const [shown, setShown] = useState(SHOWN_ENTRIES);
  if (!isNested(value)) return <Scalar value={value} />;
  const entries = Object.entries(value);
  return (
    <>
      {entries.slice(0, shown).map(([name, entry]) => (
        <Entry key={name} name={name} value={entry} level={level} />
      ))}
      {entries.length === 0 && <span className="text-muted-foreground">{Array.isArray(value) ? "[ ]" : "{ }"}</span>}
      {entries.length > shown && (
        <Button size="small" variant="ghost" onClick={() => setShown(shown + 10 * SHOWN_ENTRIES)}>
          {entries.length - shown} more
        </Button>
      )}
    </>
  );
}

function Entry({ name, value, level }: { name: string; value: unknown; level: number }) {
  const isFolding = isNested(value) && Object.keys(value).length > 0;
  const [isOpen, setIsOpen] = useState(isFolding && level < OPEN_LEVELS && Object.keys(value).length <= OPEN_ENTRIES);
  const label = <span className="text-muted-foreground">{name}: </span>;
  if (!isFolding) {
    return (
      <div className="pl-4">
        {label}
        <Scalar value={value} />
      </div>
    );
  }
  return (
    <details open={isOpen} onToggle={(event) => setIsOpen(event.currentTarget.open)} className="group/json">
      <summary className="flex min-h-6 list-none items-center rounded hover:bg-muted [&::-webkit-details-marker]:hidden">
        <ChevronRight
          aria-hidden
          className={`size-3.5 shrink-0 text-muted-foreground transition-transform ${isOpen ? "rotate-90" : ""}`}
        />
        <span className="pl-0.5">
          {label}
          <span className="text-muted-foreground">{sizeOf(value)}</span>
        </span>
      </summary>
      {/* Not made before it is opened: metadata may be large. */}
      {isOpen && (
        <div className="ml-1.5 border-l pl-1">
          <Entries value={value} level={level + 1} />
        </div>
      )}
    </details>
  );
}

function Scalar({ value }: { value: unknown }): ReactNode {
  if (typeof value === "string") return <span className="whitespace-pre-wrap text-ok">“{value}”</span>;
  if (typeof value === "number") return <span className="text-primary">{String(value)}</span>;
  if (typeof value === "boolean") return <span className="text-warn">{String(value)}</span>;
  if (value === null || value === undefined) return <span className="text-muted-foreground italic">null</span>;
  return <span className="text-muted-foreground">{Array.isArray(value) ? "[ ]" : "{ }"}</span>;
}

function isNested(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

function sizeOf(value: object): string {
  const size = Object.keys(value).length;
  if (Array.isArray(value)) return `[ ${size} ${size === 1 ? "entry" : "entries"} ]`;
  return `{ ${size} ${size === 1 ? "field" : "fields"} }`;
}
