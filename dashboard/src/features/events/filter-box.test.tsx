import { expect, test, vi } from "vitest";
import { userEvent } from "vitest/browser";
import { FakeApi } from "@/testing/api.ts";
import { agent, agentsPage, summaryAnswer } from "@/testing/examples.ts";
import { show } from "@/testing/render.tsx";
import { FilterBox } from "./filter-box.tsx";

async function open(filter = "", url = "/events") {
  const api = new FakeApi({
    "GET /api/v1/agents": ({ parameters }) =>
      agentsPage(
        ["billing", "support", "support-eu"].filter((id) => id.includes(parameters.get("q") ?? "")).map((id) => agent(id)),
      ),
    "GET /api/v1/metrics/summary": summaryAnswer({ models: [{ model: "gpt-5-mini", calls: 3, tokens: 10, cost_usd: null }] }),
  });
  const onApply = vi.fn();
  const { screen } = await show(<FilterBox filter={filter} onApply={onApply} />, url);
  const box = screen.getByRole("combobox", { name: "Filter events" });
  await box.click();
  const options = () => [...screen.container.querySelectorAll("[role=option]")].map((option) => option.firstChild?.textContent);
  return { screen, box, onApply, options, api };
}

test("nothing is applied while somebody types, and Enter applies it", async () => {
  const { onApply } = await open();
  await userEvent.keyboard("agent:support  ms>2000 timeout");
  expect(onApply).not.toHaveBeenCalled();
  await userEvent.keyboard("{Enter}");
  expect(onApply).toHaveBeenCalledExactlyOnceWith("agent:support ms>2000 timeout");
});

test("fields are offered first, then the values that the server knows", async () => {
  const { options, box, onApply } = await open();
  expect(options()).toContain("agent:");
  await userEvent.keyboard("ag");
  await expect.poll(() => options()[0]).toBe("agent:");
  expect(options()).toContain("type:user_message");
  await userEvent.keyboard("{ArrowDown}{Enter}");
  await expect.element(box).toHaveValue("agent:");
  expect(onApply).not.toHaveBeenCalled();
  await expect.poll(options).toEqual(["agent:billing", "agent:support", "agent:support-eu"]);
  await userEvent.keyboard("sup");
  await expect.poll(options).toEqual(["agent:support", "agent:support-eu"]);
  await userEvent.keyboard("{ArrowUp}{Enter}");
  await expect.element(box).toHaveValue("agent:support-eu ");
  expect(onApply).toHaveBeenCalledExactlyOnceWith("agent:support-eu");
});

test("models are those of the range, and a click takes one", async () => {
  const { screen, options, onApply } = await open();
  await userEvent.keyboard("type:error model:");
  await expect.poll(options).toEqual(["model:gpt-5-mini"]);
  await screen.getByRole("option", { name: "model:gpt-5-mini" }).click();
  expect(onApply).toHaveBeenCalledExactlyOnceWith("type:error model:gpt-5-mini");
});

test("where the page is about some agents, only these are offered, and nobody is asked", async () => {
  const { options, api } = await open("", "/events?agents=a-1,a-2");
  await userEvent.keyboard("agent:");
  await expect.poll(options).toEqual(["agent:a-1", "agent:a-2"]);
  expect(api.asked).toEqual([]);
});

test("half a term is not wrong yet; applied it is, and says why, and nothing changes", async () => {
  const { screen, box, onApply } = await open();
  await userEvent.keyboard("ms>abc");
  await expect.element(box).toHaveAttribute("aria-invalid", "false");
  await userEvent.keyboard("{Escape}");
  await box.fill("ms>abc typ:error");
  await userEvent.keyboard("{Enter}");
  await expect.element(box).toHaveAttribute("aria-invalid", "true");
  await expect.element(screen.getByRole("alert")).toMatchTextContent(/number/);
  await expect.element(screen.getByRole("alert")).toMatchTextContent(/type/);
  expect(onApply).not.toHaveBeenCalled();
});

test("leaving the box checks it too", async () => {
  const { screen, box } = await open();
  await userEvent.keyboard("ms>abc");
  await userEvent.keyboard("{Tab}{Tab}");
  await expect.element(box).toHaveAttribute("aria-invalid", "true");
  await expect.element(screen.getByRole("alert")).not.toBeEmptyDOMElement();
});

test("Escape closes the list first, then takes back what was typed", async () => {
  const { box } = await open("type:error");
  await box.fill("type:error ag");
  await expect.element(box).toHaveAttribute("aria-expanded", "true");
  await userEvent.keyboard("{Escape}");
  await expect.element(box).toHaveAttribute("aria-expanded", "false");
  await expect.element(box).toHaveValue("type:error ag");
  await userEvent.keyboard("{Escape}");
  await expect.element(box).toHaveValue("type:error");
});

test("it can be emptied with one click, and the focus stays", async () => {
  const { screen, box, onApply } = await open("type:error");
  await screen.getByRole("button", { name: "Clear the filter" }).click();
  expect(onApply).toHaveBeenCalledExactlyOnceWith("");
  await expect.element(box).toHaveFocus();
});
