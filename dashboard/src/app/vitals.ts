/** How fast the page loads here, told to the server once, when the page is left. */
import { type Metric, onCLS, onFCP, onINP, onLCP, onTTFB } from "web-vitals";
import { API_BASE } from "@/api/http.ts";

export function reportVitals(): void {
  const values = new Map<string, number>();
  const note = (metric: Metric) => values.set(metric.name, metric.value);
  for (const on of [onCLS, onFCP, onINP, onLCP, onTTFB]) on(note);
  addEventListener("visibilitychange", () => {
    if (document.visibilityState !== "hidden" || values.size === 0) return;
    const body = JSON.stringify({ values: [...values].map(([name, value]) => ({ name, value })) });
    values.clear();
    void fetch(`${API_BASE}/api/v1/web-vitals`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      credentials: API_BASE ? "include" : "same-origin",
      body,
      keepalive: true,
    }).catch(() => undefined);
  });
}
