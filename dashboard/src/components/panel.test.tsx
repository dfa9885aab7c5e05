import { expect, test, vi } from "vitest";
import { ApiError } from "@/api/http.ts";
import { query, show } from "@/testing/render.tsx";
import { Panel } from "./panel.tsx";

const TABLE = { columns: ["Day", "Events"], rows: [["26 Nov", 1_234]] };

function panel(state: Parameters<typeof query<number[]>>[0], more: object = {}) {
  return (
    <Panel
      title="Traffic"
      height="h-40"
      query={query<number[]>(state)}
      isEmpty={(data) => data.length === 0}
      empty="Nothing here."
      {...more}
    >
      {(data) => <p>{data.join("+")}</p>}
    </Panel>
  );
}

test("it says that it loads", async () => {
  const { screen } = await show(panel({ isPending: true }));
  await expect.element(screen.getByRole("region", { name: "Traffic" })).toHaveAttribute("aria-busy", "true");
  await expect.element(screen.getByText("Traffic loads")).toBeInTheDocument();
});

test("its frame has the same height whatever it shows", async () => {
  const heights: number[] = [];
  for (const state of [{ isPending: true }, { data: [1] }, { data: [] }, { isError: true, error: new Error("away") }]) {
    const { screen } = await show(panel(state));
    heights.push(screen.getByRole("region", { name: "Traffic" }).element().getBoundingClientRect().height);
    await screen.unmount();
  }
  expect(new Set(heights).size).toBe(1);
});

test("an error names the cause and the request, and can be tried again", async () => {
  const refetch = vi.fn(async () => undefined);
  const { screen } = await show(
    panel({ isError: true, error: new ApiError(503, "the store is away", "r-7"), refetch: refetch as never }),
  );
  await expect.element(screen.getByRole("alert").getByText(/the store is away/)).toBeVisible();
  await expect.element(screen.getByRole("alert").getByText(/r-7/)).toBeVisible();
  await screen.getByRole("button", { name: "Try again" }).click();
  expect(refetch).toHaveBeenCalledOnce();
});

test("old data stays when a refresh fails, and is marked", async () => {
  const { screen } = await show(panel({ data: [1, 2], isError: true, error: new Error("away") }));
  await expect.element(screen.getByText("1+2")).toBeVisible();
  await expect.element(screen.getByRole("button", { name: /^Stale/ })).toBeVisible();
});

test("no data says so", async () => {
  const { screen } = await show(panel({ data: [] }));
  await expect.element(screen.getByText("Nothing here.")).toBeVisible();
});

test("a fault while drawing stays in the panel", async () => {
  const silent = vi.spyOn(console, "error").mockImplementation(() => undefined);
  const broken = () => {
    throw new Error("no such field");
  };
  const { screen } = await show(
    <>
      <Panel title="Broken" height="h-40" query={query({ data: 1 })}>
        {broken}
      </Panel>
      {panel({ data: [3] })}
    </>,
  );
  await expect.element(screen.getByRole("alert").getByText(/no such field/)).toBeVisible();
  await expect.element(screen.getByText("3", { exact: true })).toBeVisible();
  silent.mockRestore();
});

test("a chart can be read as a table", async () => {
  const { screen } = await show(panel({ data: [1] }, { table: () => TABLE }));
  await screen.getByRole("button", { name: "Traffic: show as a table" }).click();
  await expect.element(screen.getByRole("columnheader", { name: "Events" })).toBeVisible();
  await expect.element(screen.getByRole("cell", { name: "1,234" })).toBeVisible();
});
