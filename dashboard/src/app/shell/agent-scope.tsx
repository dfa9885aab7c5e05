import { Bot, ChevronDown } from "lucide-react";
import { lazy, Suspense, useState } from "react";
import { Button } from "@/components/ui/button.tsx";
import { Popover, PopoverContent, PopoverTrigger } from "@/components/ui/popover.tsx";
import { Skeleton } from "@/components/ui/skeleton.tsx";
import { useCommon } from "@/lib/common.ts";

const AgentList = lazy(() => import("./agent-list.tsx"));

/** Which agents the page is about. */
export function AgentScope() {
  const [isOpen, setIsOpen] = useState(false);
  const { agents } = useCommon();
  const text = agents.length === 0 ? "All agents" : agents.length === 1 ? agents[0] : `${agents.length} agents`;
  return (
    <Popover open={isOpen} onOpenChange={setIsOpen}>
      <PopoverTrigger asChild>
        <Button aria-label={`Agents: ${text}`} title={agents.join(", ")}>
          <Bot /> <span className="max-w-28 truncate sm:max-w-48">{text}</span> <ChevronDown className="text-muted-foreground" />
        </Button>
      </PopoverTrigger>
      <PopoverContent className="w-80 p-0" aria-label="Choose agents">
        <Suspense fallback={<Skeleton className="m-2 h-64" />}>
          <AgentList onDone={() => setIsOpen(false)} />
        </Suspense>
      </PopoverContent>
    </Popover>
  );
}
