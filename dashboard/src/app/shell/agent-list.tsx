import { keepPreviousData, useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { Command } from "cmdk";
import { Check } from "lucide-react";
import { useDeferredValue, useState } from "react";
import { agentsQuery } from "@/api/queries.ts";
import { StatusDot } from "@/components/status.tsx";
import { Button } from "@/components/ui/button.tsx";
import { usePopoverClose } from "@/components/ui/popover.tsx";
import { useChangeSearch, useCommonNow } from "@/lib/common.ts";
import { MOST_AGENTS } from "@/lib/search.ts";

const ITEM = "flex cursor-pointer items-center gap-2 rounded px-2 py-1.5 data-[selected=true]:bg-muted";

/** Search over all agents; the server searches, so it makes no difference how many there are. */
export default function AgentList() {
  const close = usePopoverClose();
  const { agents: chosen } = useCommonNow();
  const { agentId } = useParams({ strict: false });
  const agents = agentId ? [agentId] : chosen;
  const change = useChangeSearch();
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const search = useDeferredValue(text.trim());
  const found = useInfiniteQuery({
    ...agentsQuery({ q: search || undefined, sort: "-last_seen", limit: 50 }),
    placeholderData: keepPreviousData,
  });
  const page = found.data?.pages[0];
  const ids = page?.items.map((item) => item.agent_id) ?? [];
  const chosenElsewhere = search === "" ? agents.filter((id) => !ids.includes(id)) : [];

  const toggle = (id: string) => {
    // On the page of one agent another one means another page.
    if (agentId) {
      close();
      void navigate({ to: "/agents/$agentId", params: { agentId: id } });
      return;
    }
    const next = agents.includes(id) ? agents.filter((each) => each !== id) : [...agents, id].slice(-MOST_AGENTS);
    change({ agents: next.length > 0 ? next : undefined });
  };
  const showAll = () => {
    if (agentId) void navigate({ to: "/agents" });
    else change({ agents: undefined });
  };
  const row = (id: string, status?: "healthy" | "degraded" | "failing" | "silent") => (
    <Command.Item key={id} value={id} onSelect={() => toggle(id)} className={ITEM} aria-checked={agents.includes(id)}>
      <Check aria-hidden className={agents.includes(id) ? "size-3.5 text-primary" : "invisible size-3.5"} />
      <span className="min-w-0 flex-1 truncate">{id}</span>
      {agents.includes(id) && <span className="sr-only">chosen</span>}
      {status && <StatusDot status={status} />}
    </Command.Item>
  );
  return (
    <Command shouldFilter={false} label="Agents" loop>
      <Command.Input
        autoFocus
        value={text}
        onValueChange={setText}
        placeholder="Search agents"
        className="h-9 w-full border-b bg-transparent px-3 text-sm outline-none placeholder:text-muted-foreground"
      />
      <Command.List className="max-h-80 overflow-auto p-1">
        {found.isError && <p className="px-2 py-3 text-bad">{found.error.message}</p>}
        {page && ids.length === 0 && <p className="px-2 py-3 text-muted-foreground">No agent’s name contains “{search}”.</p>}
        {chosenElsewhere.map((id) => row(id))}
        {page?.items.map((item) => row(item.agent_id, item.status))}
        {page && page.total > ids.length && (
          <p className="px-2 py-1.5 text-muted-foreground text-xs">{page.total - ids.length} more: type a part of the name</p>
        )}
      </Command.List>
      <div className="flex items-center justify-between border-t p-1.5">
        <Button size="small" variant="ghost" disabled={agents.length === 0} onClick={showAll}>
          All agents
        </Button>
        <Button size="small" variant="primary" onClick={close}>
          Done
        </Button>
      </div>
    </Command>
  );
}
