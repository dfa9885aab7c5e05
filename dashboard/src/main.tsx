import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Providers } from "./app/providers.tsx";
import { router } from "./app/router.tsx";
import "./styles.css";

// A newer build has other files: what this tab would load next is gone, so the page is loaded anew, once.
addEventListener("vite:preloadError", () => {
  const last = Number(sessionStorage.getItem("agent-tally.reloaded") ?? 0);
  if (Date.now() - last < 60_000) return;
  sessionStorage.setItem("agent-tally.reloaded", String(Date.now()));
  location.reload();
});

const root = document.getElementById("root");
if (!root) throw new Error("the page has no root");
createRoot(root).render(
  <StrictMode>
    <Providers>
      <RouterProvider router={router} />
    </Providers>
  </StrictMode>,
);

void import("./app/vitals.ts").then(({ reportVitals }) => reportVitals());
