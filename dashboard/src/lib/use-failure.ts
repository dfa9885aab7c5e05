import type { UseQueryResult } from "@tanstack/react-query";
import { useRef } from "react";

/** Why there is nothing to show. Stays while the question is asked once more: what failed must not flicker. */
export function useFailure<T>(query: UseQueryResult<T, Error>): Error | null {
  const last = useRef<Error>(null);
  if (query.error) last.current = query.error;
  if (query.data !== undefined) return null;
  if (query.isError) return query.error;
  return query.errorUpdateCount > 0 ? last.current : null;
}
