import { useQuery } from "@tanstack/react-query";
import { expect, test } from "vitest";
import { userEvent } from "vitest/browser";
import { sessionQuery } from "@/api/queries.ts";
import { FakeApi, refusal } from "@/testing/api.ts";
import { sessionAnswer } from "@/testing/examples.ts";
import { show } from "@/testing/render.tsx";
import { SignIn } from "./sign-in.tsx";

/** As the shell does it. */
function Door() {
  const session = useQuery(sessionQuery());
  return session.data?.is_signed_in ? <p>the numbers</p> : <SignIn />;
}

async function open({ keepsCookies = true } = {}) {
  let isSignedIn = false;
  const session = () => sessionAnswer({ is_required: true, is_signed_in: isSignedIn });
  const api = new FakeApi({
    "GET /api/v1/session": session,
    "POST /api/v1/session": ({ body }) => {
      if ((body as { key: string }).key !== "at_right") return refusal(401, "this is not a key that may sign in", "r-7");
      isSignedIn = keepsCookies;
      return sessionAnswer({ is_required: true });
    },
  });
  return { ...(await show(<Door />)), api };
}

test("a wrong key says so and can be mended; the right one opens the door", async () => {
  const { screen, api } = await open();
  const [key, button] = [screen.getByLabelText("API key"), screen.getByRole("button", { name: "Sign in" })];
  await expect.element(button).toBeDisabled();
  await key.fill("at_wrong");
  await button.click();
  await expect.element(screen.getByRole("alert")).toHaveTextContent("this is not a key that may sign in");
  await expect.element(key).toHaveAttribute("aria-invalid", "true");
  await key.fill(" at_right ");
  await userEvent.keyboard("{Enter}");
  await expect.element(screen.getByText("the numbers")).toBeVisible();
  expect(api.of("POST /api/v1/session").map((asked) => asked.body)).toEqual([{ key: "at_wrong" }, { key: "at_right" }]);
});

test("the key is never shown, and a browser's keeper of passwords may know it", async () => {
  const { screen } = await open();
  const key = screen.getByLabelText("API key");
  await expect.element(key).toHaveAttribute("type", "password");
  await expect.element(key).toHaveAttribute("autocomplete", "current-password");
});

test("a browser that does not keep the sign-in is told why and what to do", async () => {
  const { screen } = await open({ keepsCookies: false });
  await screen.getByLabelText("API key").fill("at_right");
  await screen.getByRole("button", { name: "Sign in" }).click();
  await expect
    .element(screen.getByRole("alert"))
    .toMatchTextContent(/^The key is right, but this browser does not keep the sign-in: .* of the same site as the server\.$/);
});
