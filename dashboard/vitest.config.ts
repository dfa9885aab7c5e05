import { playwright } from "@vitest/browser-playwright";
import { defineConfig, mergeConfig } from "vitest/config";
import viteConfig from "./vite.config.ts";

/** Debian's Chromium; a browser of Playwright's own is used where there is one and this is not. */
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

export default mergeConfig(
  viteConfig,
  defineConfig({
    // Beside that of a dev server, which may be running.
    cacheDir: "node_modules/.vitest",
    // Found while tests run, they would make the browser load the page anew.
    optimizeDeps: {
      include: ["vitest-browser-react", "react", "react-dom/client", "recharts", "cmdk", "react-day-picker", "web-vitals"],
    },
    test: {
      projects: [
        { extends: true, test: { name: "pure", environment: "node", include: ["src/**/*.test.ts"] } },
        {
          extends: true,
          test: {
            name: "browser",
            include: ["src/**/*.test.tsx"],
            setupFiles: ["src/testing/setup.ts"],
            browser: {
              enabled: true,
              headless: true,
              screenshotFailures: false,
              provider: playwright({
                launchOptions: { executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"] },
              }),
              instances: [{ browser: "chromium", viewport: { width: 1280, height: 800 } }],
            },
          },
        },
      ],
    },
  }),
);
