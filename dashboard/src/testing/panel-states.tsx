/** The states that every panel has, tried on one panel of a page. */
import type { ReactNode } from "react";
import { expect, test } from "vitest";
import { type Answer, FakeApi, type Given, type Question, refusal, silence } from "./api.ts";
import { show } from "./render.tsx";

interface PanelCase<Q extends Question> {
  page: () => ReactNode;
  url: string;
  /** The page's path where it has parameters. */
  route?: string;
  /** Its title. */
  panel: string;
  question: Q;
  answer: () => Answer<Q>;
  /** Seen with that answer. */
  seen: string | RegExp;
  /** What the rest of the page asks. */
  rest: () => Given;
  /** Why there can be nothing to show, and what the panel says then. */
  empty: Record<string, { answer: () => Answer<Q>; rest?: () => Given; url?: string; says: string | RegExp }>;
}

export function tryPanelStates<Q extends Question>(given: PanelCase<Q>): void {
  const { page, url, route, panel, question, answer, seen, rest } = given;
  const open = async (first: unknown, more: Given = {}, at = url) => {
    const api = new FakeApi({ ...rest(), ...more, [question]: first } as Given);
    const shown = await show(page(), at, route);
    return { ...shown, api, panel: shown.screen.getByRole("region", { name: panel, exact: true }) };
  };

  test("it says that it loads", async () => {
    const { panel } = await open(silence);
    await expect.element(panel).toHaveAttribute("aria-busy", "true");
    await expect.element(panel.getByText(/ loads$/)).toBeInTheDocument();
  });

  for (const [reason, { answer: none, rest: more, url: at, says }] of Object.entries(given.empty)) {
    test(`it is empty and says why: ${reason}`, async () => {
      const { panel } = await open(none(), more?.(), at);
      await expect.element(panel.getByText(says)).toBeVisible();
    });
  }

  test("an error names the cause and the request, and can be tried again", async () => {
    const { panel, api } = await open(refusal(503, "the store is away", "r-7"));
    await expect.element(panel.getByRole("alert")).toMatchTextContent(/the store is away/);
    await expect.element(panel.getByRole("alert")).toMatchTextContent(/request r-7/);
    api.set({ [question]: answer() } as Given);
    await panel.getByRole("button", { name: "Try again" }).click();
    await expect.element(panel.getByText(seen).first()).toBeVisible();
  });

  test("what could not be refreshed stays and is marked as old", async () => {
    const { panel, api, refresh } = await open(answer());
    await expect.element(panel.getByText(seen).first()).toBeVisible();
    api.set({ [question]: refusal(503, "the store is away") } as Given);
    await refresh();
    await expect.element(panel.getByRole("button", { name: /^Stale As of .* the store is away/ })).toBeVisible();
    await expect.element(panel.getByText(seen).first()).toBeVisible();
  });
}
