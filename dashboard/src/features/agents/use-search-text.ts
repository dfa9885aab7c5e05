import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useEffect, useRef, useState } from "react";
import type { AgentsSearch } from "./agents.tsx";

/** A URL that changed with every key would make the browser refuse further changes. */
const REST_MS = 250;

/** What is typed into the search box at once, and in the URL (`q`) when the typing rests. */
export function useSearchText(): [string, (text: string) => void] {
  const { q = "" } = useSearch({ strict: false }) as AgentsSearch;
  const navigate = useNavigate();
  const [text, setText] = useState(q);
  const written = useRef(q);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);

  // Not written by us: the back button, a link.
  useEffect(() => {
    if (q === written.current) return;
    clearTimeout(timer.current);
    written.current = q;
    setText(q);
  }, [q]);
  useEffect(() => () => clearTimeout(timer.current), []);

  const change = useCallback(
    (next: string) => {
      setText(next);
      clearTimeout(timer.current);
      timer.current = setTimeout(() => {
        written.current = next.trim();
        void navigate({
          to: ".",
          search: ((old: object) => ({ ...old, q: next.trim() || undefined })) as never,
          replace: true,
          resetScroll: false,
        });
      }, REST_MS);
    },
    [navigate],
  );
  return [text, change];
}
