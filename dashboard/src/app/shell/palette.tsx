import { keepPreviousData, useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import { Bot, CalendarClock, Keyboard, LogOut, type LucideIcon, Moon, Pause, Sun, SunMoon } from "lucide-react";
import { useDeferredValue, useState } from "react";
import { agentsQuery, sessionQuery } from "@/api/queries.ts";
import { StatusDot } from "@/components/status.tsx";
import { useChangeSearch } from "@/lib/common.ts";
import { liveClient } from "@/lib/live.ts";
import { PRESET_LABELS, PRESETS } from "@/lib/range.ts";
import { rangeSearch } from "@/lib/search.ts";
import { setTheme } from "@/lib/theme.ts";
import { showOverlay } from "./overlays.ts";
import { PAGES } from "./pages.ts";
import { useSignOut } from "./sign-out.ts";

interface Action {
  text: string;
  icon: LucideIcon;
  run: () => void;
}

/** Go anywhere, do anything, by typing a part of its name. */
export default function Palette({ onDone }: { onDone: () => void }) {
  const [text, setText] = useState("");
  const search = useDeferredValue(text.trim());
  const navigate = useNavigate();
  const session = useQuery(sessionQuery());
  const signOut = useSignOut();
  const change = useChangeSearch();
  const agents = useInfiniteQuery({
    ...agentsQuery({ q: search || undefined, sort: "-last_seen", limit: 8 }),
    placeholderData: keepPreviousData,
  });
  const isReceipt = /^\d+-\d+-\d+(\.\d+-\d+-\d+)*$/.test(search);

  const actions: Action[] = [
    ...PAGES.map((page) => ({ text: page.title, icon: page.icon, run: () => void navigate({ to: page.to }) })),
    ...PRESETS.map((preset) => ({
      text: PRESET_LABELS[preset],
      icon: CalendarClock,
      run: () => change(rangeSearch({ preset })),
    })),
    { text: "Pause or go live", icon: Pause, run: () => liveClient.setPaused(liveClient.getState().mode !== "paused") },
    { text: "Light theme", icon: Sun, run: () => setTheme("light") },
    { text: "Dark theme", icon: Moon, run: () => setTheme("dark") },
    { text: "Theme as the system", icon: SunMoon, run: () => setTheme("system") },
    ...(session.data?.is_required ? [{ text: "Sign out", icon: LogOut, run: () => signOut.mutate() }] : []),
    { text: "Keyboard shortcuts", icon: Keyboard, run: () => showOverlay("shortcuts") },
  ];
  const words = search.toLowerCase().split(/\s+/);
  const matching = actions.filter((action) => words.every((word) => action.text.toLowerCase().includes(word)));
  // What is found changes while one types; the first of it is what Enter means.
  // Those of the search before stay until the new ones come, but Enter must not mean one that no longer fits.
  const typed = text.trim().toLowerCase();
  const found = (agents.data?.pages[0]?.items ?? []).filter((agent) => agent.agent_id.toLowerCase().includes(typed));
  const first = isReceipt ? "receipt" : found[0] ? `agent ${found[0].agent_id}` : (matching[0]?.text ?? "");
  const [chosen, setChosen] = useState(first);
  const [firstBefore, setFirstBefore] = useState(first);
  if (first !== firstBefore) {
    setFirstBefore(first);
    setChosen(first);
  }
  const pick = (run: () => void) => () => {
    onDone();
    run();
  };
  return (
    <Command
      value={chosen}
      onValueChange={setChosen}
      shouldFilter={false}
      label="Search and commands"
      loop
      className="flex min-h-80 flex-col"
    >
      <Command.Input
        autoFocus
        value={text}
        onValueChange={setText}
        placeholder="Agents, pages, ranges, a receipt …"
        className="h-12 w-full border-b bg-transparent px-4 text-base outline-none placeholder:text-muted-foreground"
      />
      <Command.List className="max-h-[60vh] flex-1 overflow-auto p-2">
        <Command.Empty className="px-2 py-6 text-center text-muted-foreground">Nothing is called that.</Command.Empty>
        {isReceipt && (
          <Entry value="receipt" onSelect={pick(() => void navigate({ to: "/pipeline", search: { find: search } as never }))}>
            Where is the event of receipt {search}?
          </Entry>
        )}
        <Command.Group heading="Agents" className={GROUP}>
          {found.map((agent) => (
            <Entry
              key={agent.agent_id}
              value={`agent ${agent.agent_id}`}
              onSelect={pick(() => void navigate({ to: "/agents/$agentId", params: { agentId: agent.agent_id } }))}
            >
              <Bot aria-hidden /> <span className="min-w-0 flex-1 truncate">{agent.agent_id}</span>{" "}
              <StatusDot status={agent.status} />
            </Entry>
          ))}
        </Command.Group>
        {matching.length > 0 && (
          <Command.Group heading="Commands" className={GROUP}>
            {matching.map(({ text: name, icon: Icon, run }) => (
              <Entry key={name} value={name} onSelect={pick(run)}>
                <Icon aria-hidden /> {name}
              </Entry>
            ))}
          </Command.Group>
        )}
      </Command.List>
    </Command>
  );
}

const GROUP =
  "[&_[cmdk-group-heading]]:px-2 [&_[cmdk-group-heading]]:py-1 [&_[cmdk-group-heading]]:text-xs [&_[cmdk-group-heading]]:text-muted-foreground";

function Entry({ value, onSelect, children }: { value: string; onSelect: () => void; children: React.ReactNode }) {
  return (
    <Command.Item
      value={value}
      onSelect={onSelect}
      className="flex cursor-pointer items-center gap-2.5 rounded-md px-2 py-2 data-[selected=true]:bg-muted [&_svg]:size-4 [&_svg]:text-muted-foreground"
    >
      {children}
    </Command.Item>
  );
}
