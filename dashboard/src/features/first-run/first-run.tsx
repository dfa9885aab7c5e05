import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { PUBLIC_BASE } from "@/api/http.ts";
import { sessionQuery } from "@/api/queries.ts";
import { CopyButton } from "@/components/copy-button.tsx";
import { Button } from "@/components/ui/button.tsx";
import { Card } from "@/components/ui/card.tsx";
import { LANGUAGES, type Language, snippet } from "./snippets.ts";

/** How to post the first event, for this very address. The overview takes over by itself when it has come. */
export default function FirstRun() {
  const [language, setLanguage] = useState<Language>("curl");
  const session = useQuery(sessionQuery());
  const code = snippet(language, PUBLIC_BASE, session.data?.is_required ?? false);
  return (
    <div className="mx-auto max-w-3xl py-6">
      <h1 className="font-semibold text-figure">No agent has posted yet</h1>
      <p className="mt-2 text-muted-foreground">
        Post one event. It is counted exactly once, however often you repeat it, and this page shows it within a second.
      </p>
      <Card aria-label="The first event" className="mt-5">
        <div className="flex items-center gap-1 border-b p-2">
          {LANGUAGES.map((each) => (
            <Button
              key={each.id}
              variant="ghost"
              size="small"
              aria-pressed={language === each.id}
              onClick={() => setLanguage(each.id)}
            >
              {each.label}
            </Button>
          ))}
          <span className="ml-auto">
            <CopyButton text={code} label="Copy" />
          </span>
        </div>
        {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard */}
        <pre tabIndex={0} className="overflow-x-auto p-4 font-mono text-xs leading-5">
          <code>{code}</code>
        </pre>
      </Card>
      <p role="status" className="mt-4 flex items-center gap-2 text-muted-foreground">
        <span aria-hidden className="size-2 animate-pulse rounded-full bg-primary" />
        Waiting for the first event …
      </p>
      <p className="mt-6 text-muted-foreground">
        Nothing at hand to post from? <code className="font-mono">agent-tally demo</code> plays a fleet of twelve agents. Events
        that came in but do not show up here are at{" "}
        <Link to="/pipeline" className="link">
          Pipeline health
        </Link>
        .
      </p>
    </div>
  );
}
