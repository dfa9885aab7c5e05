/** Every page, by the name that its screenshots get. */
import type { Ledger } from "./server.ts";

export const PAGES: readonly { name: string; path: (ledger: Ledger) => string }[] = [
  { name: "overview", path: () => "/" },
  { name: "agents", path: () => "/agents" },
  { name: "agent", path: (ledger) => `/agents/${firstAgent(ledger)}?range=7d` },
  { name: "events", path: () => "/events" },
  { name: "conversations", path: () => "/conversations?range=7d" },
  { name: "errors", path: () => "/errors?range=7d" },
  { name: "pipeline", path: () => "/pipeline" },
];

export function firstAgent(ledger: Ledger): string {
  const first = Object.keys(ledger.agents)[0];
  if (!first) throw new Error("the demo has no agents");
  return first;
}
