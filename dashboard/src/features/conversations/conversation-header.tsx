/** What a conversation is and what it came to. */
import { Link } from "@tanstack/react-router";
import { ArrowLeft } from "lucide-react";
import type { ReactNode } from "react";
import type { ConversationAnswer } from "@/api/generated.ts";
import { ConversationStatus } from "@/components/conversation-status.tsx";
import { CopyButton } from "@/components/copy-button.tsx";
import { Skeleton } from "@/components/ui/skeleton.tsx";
import { Ago, Time, Value } from "@/components/value.tsx";
import { formatDuration } from "@/lib/format.ts";
import { titleOf } from "./title.ts";

interface HeaderProps {
  id: string;
  /** Absent while it loads, or where it could not be loaded. */
  answer: ConversationAnswer | undefined;
  isLoading: boolean;
  /** Goes to the first error on the timeline. */
  onFirstError: () => void;
}

export function ConversationHeader({ id, answer, isLoading, onFirstError }: HeaderProps) {
  const conversation = answer?.conversation;
  const title = conversation && titleOf(conversation);
  return (
    <header className="flex flex-col gap-2">
      <Link to="/conversations" search={{}} className="link flex w-fit items-center gap-1 text-xs [&_svg]:size-3">
        <ArrowLeft aria-hidden /> Conversations
      </Link>
      <div className="flex flex-wrap items-start gap-x-3 gap-y-1">
        <h1 className="line-clamp-2 min-w-0 font-semibold text-base [overflow-wrap:anywhere]">{title ?? id}</h1>
        {conversation && <ConversationStatus status={conversation.status} />}
      </div>
      {answer && <Facts answer={answer} onFirstError={onFirstError} />}
      {isLoading && <Skeleton className="h-10 w-full max-w-3xl" />}
      <div className="-mt-1 flex min-w-0 items-center gap-1 text-muted-foreground">
        {title && <span className="truncate font-mono text-2xs">{id}</span>}
        <span className={title ? undefined : "-ml-2"}>
          <CopyButton text={id} label="Copy id" />
        </span>
      </div>
    </header>
  );
}

/** Names shown of many. */
const NAMED = 3;

function Facts({ answer, onFirstError }: { answer: ConversationAnswer; onFirstError: () => void }) {
  const { conversation: c, events } = answer;
  const agents = [...new Set([c.agent_id, ...events.map((event) => event.agent_id)])];
  const users = [...new Set(events.flatMap((event) => event.user_id ?? []))];
  const scores = events.flatMap((event) => event.user_feedback ?? []);
  return (
    <dl className="flex flex-wrap gap-x-6 gap-y-2">
      <Fact title={agents.length > 1 ? "Agents" : "Agent"}>
        {agents.slice(0, NAMED).map((agent, i) => (
          <span key={agent}>
            {i > 0 && ", "}
            <Link to="/agents/$agentId" params={{ agentId: agent }} className="link">
              {agent}
            </Link>
          </span>
        ))}
        {agents.length > NAMED && ` and ${agents.length - NAMED} more`}
      </Fact>
      <Fact title="Started">
        <Time time={c.startedAt} /> <Ago time={c.startedAt} className="text-muted-foreground" />
      </Fact>
      <Fact title="Duration">{formatDuration(c.duration)}</Fact>
      <Fact title="Messages">
        <Value value={c.userMessages} />
      </Fact>
      <Fact title="Events">
        <Value value={c.messageCount} />
      </Fact>
      <Fact title="Errors">
        {c.errorCount > 0 ? (
          <button type="button" onClick={onFirstError} title="Go to the first error" className="font-semibold text-bad underline">
            <Value value={c.errorCount} />
          </button>
        ) : (
          <Value value={c.errorCount} />
        )}
      </Fact>
      <Fact title="Tool calls">
        <Value value={c.toolCalls} />
      </Fact>
      <Fact title="Tokens">
        <Value value={c.tokens} />
      </Fact>
      <Fact title="Cost">
        <Value value={c.costUsd} unit="usd" />
      </Fact>
      {scores.length > 0 && <Fact title="Feedback">{scores.join(", ")} of 5</Fact>}
      {c.models.length > 0 && <Fact title={c.models.length > 1 ? "Models" : "Model"}>{some(c.models)}</Fact>}
      {users.length > 0 && <Fact title={users.length > 1 ? "Users" : "User"}>{some(users)}</Fact>}
    </dl>
  );
}

function some(names: readonly string[]): string {
  const more = names.length - NAMED;
  return names.slice(0, NAMED).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function Fact({ title, children }: { title: string; children: ReactNode }) {
  return (
    <div className="min-w-0">
      <dt className="text-2xs text-muted-foreground">{title}</dt>
      <dd className="[overflow-wrap:anywhere]">{children}</dd>
    </div>
  );
}
