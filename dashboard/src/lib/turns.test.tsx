import { useEffect, useState } from "react";
import { expect, test } from "vitest";
import { render } from "vitest-browser-react";
import { useTurn } from "./turns.ts";

const drawings: string[] = [];

function Heavy({ name, value }: { name: string; value: number }) {
  const drawn = useTurn({ value });
  useEffect(() => {
    if (drawn) drawings.push(`${name}${drawn.value}`);
  }, [name, drawn]);
  return <p>{drawn ? `${name}${drawn.value}` : "not yet"}</p>;
}

let setValue: (value: number) => void = () => undefined;
let setNames: (names: string[]) => void = () => undefined;

function Page() {
  const [value, changeValue] = useState(1);
  const [names, changeNames] = useState(["a", "b", "c"]);
  setValue = changeValue;
  setNames = changeNames;
  return names.map((name) => <Heavy key={name} name={name} value={value} />);
}

/** How many were drawn, as every task in between sees it. */
async function seenUntil(count: number): Promise<number[]> {
  const seen: number[] = [];
  while (drawings.length < count) {
    await new Promise((resolve) => setTimeout(resolve));
    if (seen.at(-1) !== drawings.length) seen.push(drawings.length);
  }
  return seen;
}

test("each is drawn in a task of its own, the newest value alone, and what has gone takes no turn", async () => {
  drawings.length = 0;
  const screen = await render(<Page />);
  await seenUntil(3);
  expect(drawings).toEqual(["a1", "b1", "c1"]);
  drawings.length = 0;
  setValue(2);
  setValue(3);
  const seen = await seenUntil(3);
  expect(seen.slice(1).every((count, i) => count - (seen[i] ?? 0) === 1)).toBe(true);
  expect([0, 1]).toContain(seen[0]);
  expect(drawings).toEqual(["a3", "b3", "c3"]);
  drawings.length = 0;
  setValue(4);
  setNames(["a", "c"]);
  await seenUntil(2);
  await expect.element(screen.getByText("c4")).toBeVisible();
  expect(drawings).toEqual(["a4", "c4"]);
});
