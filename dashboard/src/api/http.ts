/** Requests to the API: where it is, how errors come back. Knows no path. */

import { noteServerDate } from "@/lib/clock.ts";

/** Where the API is; empty for this origin. Read at run time from the page. */
export const API_BASE: string =
  document.querySelector<HTMLMetaElement>('meta[name="agent-tally-api"]')?.content.replace(/\/+$/, "") ?? "";

/** The address that agents post to. */
export const PUBLIC_BASE: string = API_BASE || location.origin;

/** What the API refused, as its problem+json says it. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** HTTP status; 0 where no answer came. */
  readonly status: number;
  readonly requestId: string | undefined;
  readonly fields: readonly { field: string; detail: string }[];

  constructor(status: number, detail: string, requestId?: string, fields: readonly { field: string; detail: string }[] = []) {
    super(detail);
    this.status = status;
    this.requestId = requestId;
    this.fields = fields;
  }

  /** Whether the same question may be answered later. */
  get isRetryable(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Longest wait for an answer. */
const TIMEOUT_MS = 30_000;

/** What the generated client calls for every operation. `alsoAnswers`: statuses that come with an answer, not with a refusal. */
export async function request<T>(path: string, init: RequestInit = {}, alsoAnswers: readonly number[] = []): Promise<T> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const signal = init.signal ? AbortSignal.any([init.signal, timeout]) : timeout;
  let response: Response;
  try {
    response = await fetch(API_BASE + path, { ...init, signal, credentials: API_BASE ? "include" : "same-origin" });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, timeout.aborted ? "no answer within 30 seconds" : "the server cannot be reached");
  }
  noteServerDate(response.headers.get("date"));
  if (response.status === 204) return undefined as T;
  const type = response.headers.get("content-type") ?? "";
  const isJson = type.includes("json");
  const isAnswer = response.ok || (alsoAnswers.includes(response.status) && isJson && !type.includes("problem"));
  if (!isAnswer) throw await refusal(response, isJson);
  if (!isJson) throw new ApiError(response.status, "the answer is not JSON; is this address an Agent Tally server?");
  return (await response.json()) as T;
}

async function refusal(response: Response, isJson: boolean): Promise<ApiError> {
  const requestId = response.headers.get("x-request-id") ?? undefined;
  const body: unknown = isJson ? await response.json().catch(() => undefined) : undefined;
  const problem = (typeof body === "object" && body !== null ? body : {}) as {
    detail?: string;
    title?: string;
    request_id?: string;
    errors?: { field: string; detail: string }[];
  };
  const detail = problem.detail ?? problem.title ?? `the server answered ${response.status}`;
  return new ApiError(response.status, detail, problem.request_id ?? requestId, problem.errors ?? []);
}
