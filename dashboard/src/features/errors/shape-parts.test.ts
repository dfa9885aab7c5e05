import { expect, test } from "vitest";
import { shapeParts } from "./shape-parts.ts";

const marked = (shape: string) =>
  shapeParts(shape)
    .map((part) => (part.isPlaceholder ? `[${part.text}]` : part.text))
    .join("|");

test("placeholders are told from the words around them", () => {
  expect(marked("GET <url> failed after <n>s (<n>/<n>)")).toBe("GET |[<url>]| failed after |[<n>]|s (|[<n>]|/|[<n>]|)");
});

test("other angle brackets are part of the message", () => {
  expect(marked("expected <div> but got <br>")).toBe("expected <div> but got <br>");
});

test("nothing has no parts, and a lone placeholder is one", () => {
  expect([shapeParts(""), marked("<uuid>")]).toEqual([[], "[<uuid>]"]);
});
