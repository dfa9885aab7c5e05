/** By type, and by words in what is loaded. */
import { Button } from "@/components/ui/button.tsx";
import { Input } from "@/components/ui/input.tsx";
import { Select } from "@/components/ui/select.tsx";
import { formatInteger, formatNumber } from "@/lib/format.ts";
import { useMedia } from "@/lib/use-media.ts";
import { typeLabel } from "./groups.ts";

interface GroupFilterProps {
  types: readonly { type: string; count: number }[];
  /** All errors of the range, those of groups that are not loaded too. */
  total: number;
  type: string | undefined;
  onType: (type: string | undefined) => void;
  text: string;
  onText: (text: string) => void;
}

/** Further types are in a list. */
const CHIPS = 6;
const CHIPS_ON_PHONES = 3;

export function GroupFilter({ types, total, type, onType, text, onText }: GroupFilterProps) {
  const fit = useMedia("(max-width: 639px)") ? CHIPS_ON_PHONES : CHIPS;
  const [chips, more] = [types.slice(0, fit), types.slice(fit)];
  const chip = (value: string | undefined, label: string, count: number) => (
    <Button
      key={value ?? "all"}
      size="small"
      aria-pressed={type === value}
      onClick={() => onType(value)}
      title={`${formatInteger(count)} errors`}
    >
      <span className="max-w-40 truncate">{label}</span>
      <span className="font-normal text-muted-foreground">{formatNumber(count)}</span>
    </Button>
  );
  return (
    <div className="flex flex-wrap items-center gap-1.5 pb-2">
      <Input
        type="search"
        aria-label="Search in types, messages and agents"
        placeholder="Search type, message, agent"
        value={text}
        onChange={(event) => onText(event.target.value)}
        className="sm:w-56"
      />
      <fieldset className="flex min-w-0 flex-wrap gap-1.5">
        <legend className="sr-only">Type</legend>
        {chip(undefined, "All", total)}
        {chips.map(({ type: each, count }) => chip(each, typeLabel(each), count))}
        {more.length > 0 && (
          <Select
            aria-label="Further types"
            value={more.some((each) => each.type === type) ? type : ""}
            onChange={(event) => onType(event.target.value || undefined)}
            className="min-w-0 max-w-48"
          >
            <option value="">{more.length} more types</option>
            {more.map(({ type: each, count }) => (
              <option key={each} value={each}>
                {typeLabel(each)} ({formatInteger(count)})
              </option>
            ))}
          </Select>
        )}
      </fieldset>
    </div>
  );
}
