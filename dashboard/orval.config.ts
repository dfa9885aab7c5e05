import { defineConfig } from "orval";

// Types and one function per operation, made from the API's own description. Streams are not requests: EventSource reads them.
export default defineConfig({
  api: {
    input: {
      target: "./openapi.json",
      filters: { mode: "exclude", tags: ["stream", "ingest"] },
    },
    output: {
      target: "./src/api/generated.ts",
      client: "fetch",
      mode: "single",
      // Ids of agents and events may contain a slash.
      urlEncodeParameters: true,
      override: {
        mutator: { path: "./src/api/http.ts", name: "request" },
        fetch: { includeHttpResponseReturnType: false },
      },
    },
  },
});
