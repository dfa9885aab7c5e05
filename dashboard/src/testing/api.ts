/**
 * Stands for the API where no server runs: answers by path, each of the type that the API describes, so a changed contract fails
 * `tsc`. What is asked goes through `fetch` and comes back as real responses. A question without an answer fails the test.
 */
import { afterEach, expect, vi } from "vitest";
import type {
  AgentAnswer,
  AgentsPage,
  ConversationAnswer,
  ConversationsAnswer,
  DeadLetterAnswer,
  DeadLettersAnswer,
  ErrorsAnswer,
  EventAnswer,
  EventsAnswer,
  HealthAnswer,
  KpisAnswer,
  PipelineAnswer,
  Problem,
  ReceiptAnswer,
  Reconciliation,
  SeriesAnswer,
  SessionAnswer,
  SummaryAnswer,
} from "@/api/generated.ts";

export interface Answers {
  "GET /api/v1/agents": AgentsPage;
  "GET /api/v1/agents/*": AgentAnswer;
  "GET /api/v1/agents/*/events/*/*": EventAnswer;
  "GET /api/v1/events": EventsAnswer;
  "GET /api/v1/conversations": ConversationsAnswer;
  "GET /api/v1/conversations/*": ConversationAnswer;
  "GET /api/v1/errors": ErrorsAnswer;
  "GET /api/v1/metrics/series": SeriesAnswer;
  "GET /api/v1/metrics/summary": SummaryAnswer;
  "GET /api/v1/dashboard/kpis": KpisAnswer;
  "GET /api/v1/pipeline": PipelineAnswer;
  "GET /api/v1/dead-letters": DeadLettersAnswer;
  "GET /api/v1/dead-letters/*": DeadLetterAnswer;
  "GET /api/v1/reconciliation": Reconciliation;
  "GET /api/v1/receipts/*": ReceiptAnswer;
  "GET /api/v1/session": SessionAnswer;
  "POST /api/v1/session": SessionAnswer;
  "GET /health/ready": HealthAnswer;
}

export type Question = keyof Answers;

export interface Asked {
  question: Question;
  /** What stands for each `*` of the path. */
  parts: string[];
  parameters: URLSearchParams;
  body: unknown;
}

/** A problem+json answer. */
export class Refusal {
  readonly problem: Problem;
  constructor(problem: Pick<Problem, "status" | "detail"> & Partial<Problem>) {
    this.problem = { type: "about:blank", title: "Refused", ...problem };
  }
}

export function refusal(status: number, detail: string, requestId = "r-1"): Refusal {
  return new Refusal({ status, detail, request_id: requestId });
}

/** An answer that comes with another status than 200. */
class WithStatus<T> {
  constructor(
    readonly status: number,
    readonly answer: T,
  ) {}
}

export function withStatus<T>(status: number, answer: T): WithStatus<T> {
  return new WithStatus(status, answer);
}

export type Answer<Q extends Question> = Answers[Q] | WithStatus<Answers[Q]> | Refusal;
/** An answer, or what makes one of the question; a promise that never ends is a server that says nothing. */
export type Given = { [Q in Question]?: Answer<Q> | ((asked: Asked) => Answer<Q> | Promise<Answer<Q>>) };

export const silence = () => new Promise<never>(() => undefined);

const unanswered: string[] = [];

/** Answers from now on until the test ends. */
export class FakeApi {
  readonly asked: Asked[] = [];
  private given: Given;

  constructor(given: Given) {
    this.given = given;
    vi.stubGlobal("fetch", (input: RequestInfo | URL, init?: RequestInit) =>
      this.fetch(new URL(String(input), location.href), init),
    );
  }

  /** Other answers for some questions. */
  set(given: Given): void {
    this.given = { ...this.given, ...given };
  }

  /** What was asked of one kind, oldest first. */
  of(question: Question): Asked[] {
    return this.asked.filter((asked) => asked.question === question);
  }

  private async fetch(url: URL, init: RequestInit = {}): Promise<Response> {
    const line = `${init.method ?? "GET"} ${url.pathname}`;
    for (const question of Object.keys(this.given) as Question[]) {
      const match = patternOf(question).exec(line);
      if (!match) continue;
      const body: unknown = typeof init.body === "string" ? JSON.parse(init.body) : undefined;
      const asked = { question, parts: match.slice(1).map(decodeURIComponent), parameters: url.searchParams, body };
      this.asked.push(asked);
      const given = this.given[question];
      const answer: unknown = typeof given === "function" ? await orAborted(given(asked), init.signal) : given;
      return responseOf(answer);
    }
    unanswered.push(line);
    return responseOf(refusal(501, `the test has no answer for ${line}`));
  }
}

function patternOf(question: Question): RegExp {
  return new RegExp(`^${question.replaceAll("*", "([^/]+)")}$`);
}

function responseOf(answer: unknown): Response {
  if (answer instanceof WithStatus) return Response.json(answer.answer, { status: answer.status });
  if (!(answer instanceof Refusal)) return Response.json(answer);
  const { problem } = answer;
  const headers = { "content-type": "application/problem+json", "x-request-id": problem.request_id ?? "" };
  return new Response(JSON.stringify(problem), { status: problem.status, headers });
}

function orAborted<T>(answer: T | Promise<T>, signal: AbortSignal | null | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason as Error));
    Promise.resolve(answer).then(resolve, reject);
  });
}

afterEach(() => {
  expect(unanswered.splice(0), "questions that the test has no answer for").toEqual([]);
});
