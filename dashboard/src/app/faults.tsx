import { type ErrorComponentProps, Link } from "@tanstack/react-router";
import { Button } from "@/components/ui/button.tsx";

/** A URL that is none of ours. */
export function NotFound() {
  return (
    <div className="flex flex-col items-center gap-3 py-24 text-center">
      <h1 className="font-semibold text-base">There is no such page</h1>
      <Link to="/" className="link">
        To the overview
      </Link>
    </div>
  );
}

/** A page that could not be loaded: usually the server has a newer build than this tab. */
export function PageFault({ error }: ErrorComponentProps) {
  return (
    <div role="alert" className="flex flex-col items-center gap-3 py-24 text-center">
      <h1 className="font-semibold text-base">This page could not be shown</h1>
      <p className="max-w-prose text-muted-foreground">{error instanceof Error ? error.message : String(error)}</p>
      <Button onClick={() => location.reload()}>Load it again</Button>
    </div>
  );
}
