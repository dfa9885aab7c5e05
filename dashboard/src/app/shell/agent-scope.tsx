import { useParams } from "@tanstack/react-router";
import { Bot, ChevronDown } from "lucide-react";
import { lazy, Suspense } from "react";
import { PanelBoundary } from "@/components/panel.tsx";
import { Button } from "@/components/ui/button.tsx";
import { Popover } from "@/components/ui/popover.tsx";
import { Skeleton } from "@/components/ui/skeleton.tsx";
import { useCommonNow } from "@/lib/common.ts";

const AgentList = lazy(() => import("./agent-list.tsx"));

/** Which agents the page is about. */
export function AgentScope() {
  const { agents: chosen } = useCommonNow();
  // A page about one agent is about that one, whatever the others are.
  const { agentId } = useParams({ strict: false });
  const agents = agentId ? [agentId] : chosen;
  const text = agents.length === 0 ? "All agents" : agents.length === 1 ? agents[0] : `${agents.length} agents`;
  const trigger = (
    <Button aria-label={`Agents: ${text}`} title={agents.join(", ")}>
      <Bot /> <span className="max-w-28 truncate sm:max-w-48">{text}</span> <ChevronDown className="text-muted-foreground" />
    </Button>
  );
  return (
    <Popover trigger={trigger} label="Choose agents" className="w-80">
      <PanelBoundary title="The list of agents">
        <Suspense fallback={<Skeleton className="m-2 h-64" />}>
          <AgentList />
        </Suspense>
      </PanelBoundary>
    </Popover>
  );
}
