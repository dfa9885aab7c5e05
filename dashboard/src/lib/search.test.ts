import { expect, test } from "vitest";
import { commonSearch, parseSearch, rangeOf, rangeSearch, stringifySearch } from "./search.ts";

test("a URL is read back as it was written", () => {
  const search = { agents: ["team/a:1", "b"], range: "7d", tz: "local", compare: "off" } as const;
  const text = stringifySearch(search);
  expect(text).toBe("?agents=team/a:1,b&range=7d&tz=local&compare=off");
  expect(commonSearch(parseSearch(text))).toEqual(search);
});

test("what makes no sense counts as absent", () => {
  const raw = parseSearch("?agents=%23x,,ok,ok&range=9y&from=2026-01-02&to=2026-01-01&tz=mars&compare=yes");
  expect(commonSearch(raw)).toEqual({ agents: ["ok"] });
});

test("two times win over a preset", () => {
  const search = commonSearch(parseSearch("?range=7d&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"));
  expect(rangeOf(search)).toEqual({ from: Date.parse("2026-01-01"), to: Date.parse("2026-01-02") });
});

test("a range unsets any other", () => {
  expect(rangeSearch({ preset: "7d" })).toEqual({ range: "7d", from: undefined, to: undefined });
  expect(rangeSearch({ from: 0, to: 1 })).toEqual({
    range: undefined,
    from: "1970-01-01T00:00:00.000Z",
    to: "1970-01-01T00:00:00.001Z",
  });
});
