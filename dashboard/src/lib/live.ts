/** The tab's stream, and what components ask of it. */
import { useSyncExternalStore } from "react";
import { LiveClient, type LiveState } from "@/api/live.ts";

export const liveClient = new LiveClient();

export function useLive(): LiveState {
  return useSyncExternalStore(liveClient.subscribe, liveClient.getState);
}
