/** The first page of a paged question, as a panel takes it. */
import type { InfiniteData, UseInfiniteQueryResult, UseQueryResult } from "@tanstack/react-query";

export function firstPage<T>(query: UseInfiniteQueryResult<InfiniteData<T, unknown>, Error>): UseQueryResult<T, Error> {
  return { ...query, data: query.data?.pages[0] } as unknown as UseQueryResult<T, Error>;
}
