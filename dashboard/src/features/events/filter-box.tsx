/** The filter as text, with suggestions. It is applied with Enter or when a whole term is picked, not while somebody types. */
import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Search, X } from "lucide-react";
import { type FormEvent, type KeyboardEvent, useEffect, useId, useMemo, useRef, useState } from "react";
import { agentsQuery, summaryQuery } from "@/api/queries.ts";
import { Button } from "@/components/ui/button.tsx";
import { Input } from "@/components/ui/input.tsx";
import { cn } from "@/lib/cn.ts";
import { useCommon } from "@/lib/common.ts";
import { parseFilter, printFilter } from "./filter.ts";
import { type Suggestion, suggestionsFor, type Typed, take, typedAt } from "./suggest.ts";

interface FilterBoxProps {
  /** The filter in force. */
  filter: string;
  onApply: (filter: string) => void;
}

export function FilterBox({ filter, onApply }: FilterBoxProps) {
  const [text, setText] = useState(filter);
  const [cursor, setCursor] = useState(0);
  const [isOpen, setIsOpen] = useState(false);
  const [chosen, setChosen] = useState(-1);
  const [isChecked, setIsChecked] = useState(true);
  const input = useRef<HTMLInputElement>(null);
  const id = useId();
  // What is typed stays as it is where it says the same: somebody goes on writing behind the space.
  useEffect(() => setText((old) => (normal(old) === normal(filter) ? old : filter)), [filter]);

  const typed = useMemo(() => typedAt(text, cursor), [text, cursor]);
  const known = useKnown(typed, isOpen);
  const suggestions = suggestionsFor(typed, known);
  const hasList = isOpen && suggestions.options.length > 0;
  // Half a term is not wrong yet: problems are told once it is applied or left.
  const problems = isChecked ? parseFilter(text).problems : [];

  const apply = (next: string) => {
    setIsChecked(true);
    setIsOpen(false);
    setChosen(-1);
    const { terms, problems: wrong } = parseFilter(next);
    if (wrong.length === 0) onApply(printFilter(terms));
  };
  const pick = (option: Suggestion) => {
    const next = take(text, suggestions, option);
    setText(next.text);
    setChosen(-1);
    setCursor(next.cursor);
    input.current?.focus();
    // The cursor can only be set in the text that is there.
    requestAnimationFrame(() => input.current?.setSelectionRange(next.cursor, next.cursor));
    if (option.isWhole) apply(next.text);
    else setIsOpen(true);
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const option = hasList ? suggestions.options[chosen] : undefined;
    if (option) pick(option);
    else apply(text);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const count = suggestions.options.length;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!hasList) setIsOpen(true);
      else setChosen((chosen + (event.key === "ArrowDown" ? 1 : chosen < 0 ? 0 : -1) + count) % count);
    } else if (event.key === "Escape") {
      event.preventDefault();
      if (hasList) setIsOpen(false);
      else setText(filter);
      setChosen(-1);
    }
  };

  return (
    <search className="relative shrink-0">
      <form
        onSubmit={submit}
        onBlur={(event) => {
          if (event.currentTarget.contains(event.relatedTarget)) return;
          setIsOpen(false);
          setIsChecked(true);
        }}
      >
        <Search aria-hidden className="pointer-events-none absolute top-2 left-2.5 size-4 text-muted-foreground" />
        <Input
          ref={input}
          data-page-filter
          role="combobox"
          aria-label="Filter events"
          aria-expanded={hasList}
          aria-controls={`${id}-list`}
          aria-activedescendant={hasList && chosen >= 0 ? `${id}-${chosen}` : undefined}
          aria-autocomplete="list"
          aria-invalid={problems.length > 0}
          aria-describedby={problems.length > 0 ? `${id}-problems` : undefined}
          autoComplete="off"
          autoCapitalize="off"
          spellCheck={false}
          enterKeyHint="search"
          placeholder="agent:support type:error ms>2000 timeout"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            setCursor(event.target.selectionStart ?? event.target.value.length);
            setIsOpen(true);
            setIsChecked(false);
            setChosen(-1);
          }}
          onSelect={(event) => setCursor(event.currentTarget.selectionStart ?? 0)}
          onFocus={() => setIsOpen(true)}
          onKeyDown={onKeyDown}
          className="pr-9 pl-8 font-mono"
        />
        {text !== "" && (
          <Button
            variant="ghost"
            size="small-icon"
            aria-label="Clear the filter"
            className="absolute top-1 right-1.5"
            onClick={() => {
              setText("");
              apply("");
              input.current?.focus();
            }}
          >
            <X />
          </Button>
        )}
        <div
          id={`${id}-list`}
          role="listbox"
          aria-label="Suggestions"
          hidden={!hasList}
          className="absolute top-9 left-0 z-20 max-h-80 w-96 max-w-full overflow-y-auto rounded-lg border bg-raised p-1 shadow-lg"
        >
          {suggestions.options.map((option, i) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the keys are the input's, as of every combobox
            <div
              key={option.text}
              id={`${id}-${i}`}
              role="option"
              tabIndex={-1}
              aria-selected={i === chosen}
              // The focus stays in the input.
              onMouseDown={(event) => event.preventDefault()}
              onClick={() => pick(option)}
              className={cn(
                "flex cursor-pointer items-baseline gap-3 rounded px-2 py-1.5 hover:bg-muted",
                i === chosen && "bg-muted outline-1 outline-primary -outline-offset-1",
              )}
            >
              <span className="min-w-0 truncate font-mono">{option.text}</span>
              <span className="ml-auto shrink-0 text-muted-foreground text-xs">{option.about}</span>
            </div>
          ))}
        </div>
      </form>
      <div id={`${id}-problems`} role="alert">
        {problems.map((problem) => (
          <p key={problem.start} className="mt-1 text-bad text-xs">
            {problem.text}
          </p>
        ))}
      </div>
    </search>
  );
}

/** One way of writing it, to compare; problems are kept apart. */
function normal(text: string): string {
  const { terms, problems } = parseFilter(text);
  return problems.length > 0 ? `\n${text}` : printFilter(terms);
}

/** Values of the field that is being typed. The server knows the agents and the models. */
function useKnown(typed: Typed, isOpen: boolean): readonly string[] {
  const { agents, range } = useCommon();
  const isAgent = isOpen && typed.field === "agent";
  const isModel = isOpen && typed.field === "model";
  const found = useInfiniteQuery({
    ...agentsQuery({ q: typed.value || undefined, sort: "-last_seen", limit: 9 }),
    enabled: isAgent && agents.length === 0,
    placeholderData: keepPreviousData,
  });
  const summary = useQuery({ ...summaryQuery(agents, range), enabled: isModel });
  if (isAgent) return agents.length > 0 ? agents : (found.data?.pages[0]?.items.map((agent) => agent.agent_id) ?? []);
  if (isModel) return summary.data?.metrics.models.map((model: { model: string }) => model.model) ?? [];
  return [];
}
