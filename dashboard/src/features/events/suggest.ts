/** What could come next in the filter box. Pure. */
import { EVENT_LABELS, EVENT_TYPES } from "@/components/event-labels.ts";
import { filterTerm } from "@/lib/filter-term.ts";
import {
  FIELD_HELP,
  fieldOf,
  isNumberField,
  NUMBER_FIELDS,
  type Piece,
  piecesOf,
  TEXT_FIELDS,
  type TextField,
} from "./filter.ts";

export interface Suggestion {
  /** Put in place of what is typed. */
  text: string;
  about: string;
  /** Whether it is a whole term, not only a field's name. */
  isWhole: boolean;
}

export interface Suggestions {
  /** What they replace. */
  start: number;
  end: number;
  options: Suggestion[];
}

/** The term in which the cursor is: its field if it has one, and what is typed of it. */
export interface Typed {
  start: number;
  end: number;
  isNot: boolean;
  field: string | undefined;
  value: string;
}

/** Most suggestions at once. */
const MOST = 9;

export function typedAt(input: string, cursor: number): Typed {
  const piece: Piece | undefined = piecesOf(input).find((each) => each.start < cursor && cursor <= each.end);
  if (!piece) return { start: cursor, end: cursor, isNot: false, field: undefined, value: "" };
  const { start, end, isNot } = piece;
  const typed = piecesOf(input.slice(0, cursor)).at(-1);
  return { start, end, isNot, field: piece.field && (fieldOf(piece.field.name) ?? ""), value: typed?.value ?? "" };
}

/** `known`: values of the field that is typed, as far as the page knows them. */
export function suggestionsFor(typed: Typed, known: readonly string[]): Suggestions {
  const { start, end, isNot, field, value } = typed;
  const minus = isNot ? "-" : "";
  const small = value.toLowerCase();
  const values = (name: TextField, all: readonly string[], about: (value: string) => string) =>
    all
      .filter((each) => each.toLowerCase().includes(small))
      .map((each) => ({ text: minus + filterTerm(name, each), about: about(each), isWhole: true }));
  const types = values("type", EVENT_TYPES, (type) => EVENT_LABELS[type as keyof typeof EVENT_LABELS]);
  let options: Suggestion[] = [];
  if (field === undefined) {
    const fields = [...TEXT_FIELDS, ...NUMBER_FIELDS]
      .filter((name) => name.startsWith(small))
      .map((name) => ({
        text: `${minus}${name}${isNumberField(name) ? ">" : ":"}`,
        about: FIELD_HELP[name].about,
        isWhole: false,
      }));
    // `err` may be meant as a kind of event.
    options = small === "" ? fields : [...fields, ...types];
  } else if (field === "type") options = types;
  else if (TEXT_FIELDS.some((name) => name === field)) options = values(field as TextField, known, () => "");
  // What is typed already needs no suggestion.
  const done = field === undefined ? null : minus + filterTerm(field, value);
  return { start, end, options: options.filter((option) => option.text !== done).slice(0, small === "" ? 12 : MOST) };
}

/** The input after a suggestion was taken, and where the cursor is then. */
export function take(
  input: string,
  { start, end }: Pick<Suggestions, "start" | "end">,
  option: Suggestion,
): { text: string; cursor: number } {
  const rest = input.slice(end).trimStart();
  const head = input.slice(0, start) + option.text + (option.isWhole ? " " : "");
  return { text: head + rest, cursor: head.length };
}
