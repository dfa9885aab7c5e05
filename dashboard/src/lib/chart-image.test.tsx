import { expect, test } from "vitest";
import { show } from "@/testing/render.tsx";
import { chartImage } from "./chart-image.ts";

const LIME = [0, 255, 0];
const BLUE = [0, 0, 255];

test("all charts of a panel are in the picture, in their colours and one below the other", async () => {
  document.documentElement.style.setProperty("--test-lime", "rgb(0 255 0)");
  const { screen } = await show(
    <>
      <svg aria-hidden width="200" height="100">
        <rect width="200" height="100" fill="var(--test-lime)" />
      </svg>
      <svg aria-hidden width="200" height="60">
        <rect width="200" height="60" fill="blue" />
      </svg>
    </>,
  );
  const charts = [...screen.container.querySelectorAll("svg")];
  const blob = await chartImage(charts, "Traffic", [{ label: "Messages", color: "red" }]);
  expect(blob.type).toBe("image/png");
  const picture = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("no canvas");
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  /** Rows of pixels in whose middle the colour is. */
  const rowsOf = (color: number[]) =>
    Array.from({ length: picture.height }, (_, y) => y).filter((y) => {
      const at = (y * picture.width + Math.floor(picture.width / 2)) * 4;
      return color.every((part, i) => data[at + i] === part);
    });
  // Twice as many as on the screen, so that it stays sharp.
  const [lime, blue] = [rowsOf(LIME), rowsOf(BLUE)];
  expect([picture.width, lime.length, blue.length]).toEqual([2 * (200 + 2 * 16), 200, 120]);
  expect(Math.min(...blue)).toBeGreaterThan(Math.max(...lime));
});
