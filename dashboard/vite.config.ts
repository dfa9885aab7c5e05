import tailwindcss from "@tailwindcss/vite";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";
import { precompress } from "./scripts/precompress.ts";

// `npm run dev` forwards the API to a server that runs beside it.
const api = process.env.AGENT_TALLY_URL ?? "http://127.0.0.1:8001";

export default defineConfig({
  plugins: [react(), tailwindcss(), precompress()],
  resolve: { alias: { "@": new URL("./src", import.meta.url).pathname } },
  build: {
    target: "es2023",
    // Inlined assets would need `data:` in the page's policy, and a preload helper would add an inline script.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    manifest: true,
  },
  server: {
    proxy: Object.fromEntries(["/api", "/health", "/docs"].map((path) => [path, { target: api, changeOrigin: true, ws: true }])),
  },
});
