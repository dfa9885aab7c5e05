import { Check, Copy } from "lucide-react";
import { useEffect, useState } from "react";
import { Button } from "./ui/button.tsx";

/** How long it says that it worked, ms. */
const SAID_MS = 1_500;

/** Puts text into the clipboard and says so. */
export function CopyButton({ text, label }: { text: string; label: string }) {
  const [said, setSaid] = useState<"copied" | "failed" | null>(null);
  useEffect(() => {
    if (!said) return;
    const timer = setTimeout(() => setSaid(null), SAID_MS);
    return () => clearTimeout(timer);
  }, [said]);
  const copy = () =>
    navigator.clipboard
      ? navigator.clipboard.writeText(text).then(
          () => setSaid("copied"),
          () => setSaid("failed"),
        )
      : setSaid("failed");
  return (
    <Button size="small" variant="ghost" onClick={() => void copy()}>
      {said === "copied" ? <Check /> : <Copy />}
      {said === "copied" ? "Copied" : said === "failed" ? "Select and copy by hand" : label}
      <span role="status" className="sr-only">
        {said === "copied" ? "Copied" : ""}
      </span>
    </Button>
  );
}
