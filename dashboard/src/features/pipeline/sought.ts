/** What somebody pasted: a receipt, the API's path of an event, or the dashboard's. */

export interface Sought {
  receipt?: string;
  event?: { agentId: string; timestamp: string; eventId: string };
}

const RECEIPT = /^\d+-\d+-\d+(?:\.\d+-\d+-\d+)*$/;
const EVENT = /\/agents\/([^/?#]+)\/events\/([^/?#]+)\/([^/?#]+)/;

/** Null where it is neither. */
export function soughtOf(text: string): Sought | null {
  const trimmed = text.trim().replace(/^"|"$/g, "");
  if (RECEIPT.test(trimmed)) return { receipt: trimmed };
  const [, agentId, timestamp, eventId] = EVENT.exec(trimmed) ?? [];
  if (!agentId || !timestamp || !eventId) return null;
  try {
    return {
      event: {
        agentId: decodeURIComponent(agentId),
        timestamp: decodeURIComponent(timestamp),
        eventId: decodeURIComponent(eventId),
      },
    };
  } catch {
    return null;
  }
}
