import { expect, test } from "vitest";
import type { Kpi } from "@/api/generated.ts";
import { show } from "@/testing/render.tsx";
import { KpiCard } from "./kpi-card.tsx";

const KPI: Kpi = {
  id: "error_rate",
  title: "Error Rate",
  value: 2.5,
  previous: 2,
  change: 25,
  changeType: "increase",
  description: "Errors per 100 messages",
  unit: "percent",
  desired: "decrease",
  hasData: true,
  coversFrom: null,
};

test("a rise of what should fall is worse, in words too", async () => {
  const { screen } = await show(<KpiCard title="Error rate" kpi={KPI} />);
  await expect.element(screen.getByText("2.5 %", { exact: true })).toBeVisible();
  await expect.element(screen.getByText(/\+25 %/)).toHaveTextContent("+25 % against the range before, worse");
});

test("a small change is neither better nor worse", async () => {
  const { screen } = await show(<KpiCard title="Error rate" kpi={{ ...KPI, change: 0.4 }} />);
  await expect.element(screen.getByText(/0.4 %/)).not.toHaveClass("text-bad");
});

test("no data is a dash and no change is claimed", async () => {
  const { screen } = await show(<KpiCard title="Error rate" kpi={{ ...KPI, hasData: false, value: 0, previous: null }} />);
  await expect.element(screen.getByRole("region", { name: "Error rate" })).toHaveTextContent("Error rate––");
});

test("nothing is compared where the URL says so", async () => {
  const { screen } = await show(<KpiCard title="Error rate" kpi={KPI} />, "/?compare=off");
  await expect.element(screen.getByText("2.5 %", { exact: true })).toBeVisible();
  expect(screen.container.textContent).not.toContain("+25 %");
});
