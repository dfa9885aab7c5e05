/** The numbers on the pages are the API's, and the API's are those of the events that were acknowledged. */
import type { KpisAnswer, SummaryAnswer } from "../src/api/generated.ts";
import { formatNumber } from "../src/lib/format.ts";
import { expect, test } from "./fixtures.ts";
import { type Ledger, type LedgerDay, Server } from "./server.ts";

// A server of its own: the other tests post events to theirs.
const server = new Server();
let ledger: Ledger;

test.beforeAll(async () => {
  test.setTimeout(180_000);
  await server.start();
  ledger = server.demo("--agents", "12", "--days", "8");
});
test.afterAll(() => server.remove());

/** Sums over all agents and the days of a range. */
function sum(ledger: Ledger, first: string, last: string, value: (day: LedgerDay) => number): number {
  let total = 0;
  for (const days of Object.values(ledger.agents)) {
    for (const [date, day] of Object.entries(days)) if (date >= first && date <= last) total += value(day);
  }
  return total;
}

function daysOf(ledger: Ledger): [string, string] {
  const dates = Object.values(ledger.agents)
    .flatMap((days) => Object.keys(days))
    .sort();
  return [dates[0] ?? "", dates.at(-1) ?? ""];
}

test("the API's sums are the ledger's", async () => {
  const [first, last] = daysOf(ledger);
  const range = `start_date=${first}&end_date=${last}`;
  const { metrics } = await server.json<SummaryAnswer>(`/api/v1/metrics/summary?${range}`);
  const of = (value: (day: LedgerDay) => number) => sum(ledger, first, last, value);
  expect(metrics.total_events).toBe(of((d) => d.events));
  expect(metrics.total_messages).toBe(of((d) => d.by_type.user_message ?? 0));
  expect(metrics.total_responses).toBe(of((d) => d.by_type.agent_response ?? 0));
  expect(metrics.total_errors).toBe(of((d) => d.by_type.error ?? 0));
  expect(metrics.total_tokens_used).toBe(of((d) => d.total_tokens));
  expect(metrics.feedback_count).toBe(of((d) => d.feedbacks));
  expect(metrics.response_times.count).toBe(of((d) => d.response_times));
  expect(metrics.average_response_time).toBeCloseTo(of((d) => d.response_time_us) / of((d) => d.response_times) / 1_000, 6);
  for (const [agent, days] of Object.entries(ledger.agents)) {
    const answer = await server.json<SummaryAnswer>(`/api/v1/agents/${agent}/metrics?${range}`);
    const total = Object.values(days).reduce((n, day) => n + day.events, 0);
    expect(answer.metrics.total_events, agent).toBe(total);
  }
});

test("the overview shows the ledger's figures of whole days", async ({ page }) => {
  const [first, last] = daysOf(ledger);
  const [from, to] = [`${first}T00:00:00.000Z`, `${last}T23:59:59.999Z`];
  await page.goto(`${server.url}/?from=${from}&to=${to}`);
  const figure = (title: string) => page.getByRole("region", { name: title, exact: true }).locator("p").first();
  const of = (value: (day: LedgerDay) => number) => sum(ledger, first, last, value);
  await expect(figure("Messages")).toHaveText(formatNumber(of((d) => d.by_type.user_message ?? 0)));
  await expect(figure("Responses")).toHaveText(formatNumber(of((d) => d.by_type.agent_response ?? 0)));
  await expect(figure("Tokens")).toHaveText(formatNumber(of((d) => d.total_tokens)));
  const rate = of((d) => d.by_type.error ?? 0) / of((d) => d.by_type.user_message ?? 0);
  await expect(figure("Error rate")).toHaveText(formatNumber(rate * 100, "percent"));
  const { kpis } = await server.json<KpisAnswer>(`/api/v1/dashboard/kpis?start_date=${from}&end_date=${to}`);
  const kpi = (id: string) => kpis.find((each) => each.id === id);
  await expect(figure("Cost")).toHaveText(formatNumber(kpi("cost")?.value, "usd"));
  await expect(figure("p95 latency")).toHaveText(formatNumber(kpi("p95_response_time")?.value, "ms"));
  await expect(figure("Users")).toHaveText(formatNumber(kpi("unique_users")?.value));
  await expect(figure("Feedback")).toHaveText(formatNumber(kpi("feedback")?.value, "points"));
});
