import { expect, test } from "vitest";
import { HOUR } from "@/lib/range.ts";
import { show } from "@/testing/render.tsx";
import { TimeChart } from "./time-chart.tsx";

const START = Date.parse("2026-11-26T00:00:00Z");
const SERIES = [
  { key: "a", label: "Messages", color: "red" },
  { key: "b", label: "Before", color: "blue", isDashed: true },
];
const points = (values: (number | null)[]) => values.map((a, i) => ({ t: START + i * HOUR, a, b: a }));

const chart = (values: (number | null)[]) => (
  <div style={{ width: 600, height: 240, display: "flex" }}>
    <TimeChart label="Traffic" points={points(values)} series={SERIES} unit="count" interval="hour" zone="utc" />
  </div>
);

test("it says in words what it shows", async () => {
  const { screen } = await show(chart([1, 12, 5]));
  const words = screen.getByText(/Messages: highest 12 at 26 Nov, 01:00–02:00, newest 5/);
  await expect.element(words).toBeInTheDocument();
});

test("a gap is a gap, and a lonely point is a dot", async () => {
  const { screen } = await show(chart([1, 2, null, 7, null, 3, 4]));
  const curves = () =>
    [...screen.container.querySelectorAll("path.recharts-area-curve")].map((path) => path.getAttribute("d") ?? "");
  await expect.poll(() => curves()[0]?.match(/M/g)?.length).toBeGreaterThanOrEqual(2);
  expect(screen.container.querySelectorAll("circle").length).toBeGreaterThanOrEqual(1);
});
