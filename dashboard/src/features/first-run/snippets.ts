/** The first event in three languages. Each runs as it stands, but for the key where one is required. */

export const LANGUAGES = [
  { id: "curl", label: "curl" },
  { id: "python", label: "Python" },
  { id: "typescript", label: "TypeScript" },
] as const;

export type Language = (typeof LANGUAGES)[number]["id"];

const KEY = "<a key with the scope ingest>";

export function snippet(language: Language, base: string, needsKey: boolean): string {
  const url = `${base}/api/v1/agents/my-agent/events`;
  switch (language) {
    case "curl":
      return `curl ${url} \\
  -H 'content-type: application/json' \\${needsKey ? `\n  -H 'authorization: Bearer ${KEY}' \\` : ""}
  -d "{\\"timestamp\\": \\"$(date -u +%Y-%m-%dT%H:%M:%S.000Z)\\", \\"message_type\\": \\"agent_response\\",
       \\"content\\": \\"Hello\\", \\"response_time_ms\\": 840, \\"token_count\\": 312, \\"model_used\\": \\"gpt-4o\\"}"`;
    case "python":
      return `import json, urllib.request
from datetime import datetime, timezone

event = {
    "timestamp": datetime.now(timezone.utc).isoformat(),
    "message_type": "agent_response",
    "content": "Hello",
    "response_time_ms": 840,
    "token_count": 312,
    "model_used": "gpt-4o",
}
request = urllib.request.Request(
    "${url}",
    data=json.dumps(event).encode(),
    headers={"content-type": "application/json"${needsKey ? `, "authorization": "Bearer ${KEY}"` : ""}},
)
print(urllib.request.urlopen(request).read().decode())`;
    case "typescript":
      return `const event = {
  timestamp: new Date().toISOString(),
  message_type: "agent_response",
  content: "Hello",
  response_time_ms: 840,
  token_count: 312,
  model_used: "gpt-4o",
};
const answer = await fetch("${url}", {
  method: "POST",
  headers: { "content-type": "application/json"${needsKey ? `, authorization: "Bearer ${KEY}"` : ""} },
  body: JSON.stringify(event),
});
console.log(await answer.json());`;
  }
}
