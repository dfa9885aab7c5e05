import { Link } from "@tanstack/react-router";
import type { Conversation } from "@/api/generated.ts";
import { titleOf } from "./title.ts";

/** A conversation by what was said first; it covers the row or card that it is in. */
export function ConversationLink({ conversation, index }: { conversation: Conversation; index: number }) {
  const { id, agent_id } = conversation;
  const title = titleOf(conversation);
  return (
    <Link
      to="/conversations/$conversationId"
      params={{ conversationId: id }}
      search={{ agent: agent_id }}
      preload={false}
      data-row={index}
      title={title ? `${title}\n${id}` : id}
      className="block truncate font-medium after:absolute after:inset-0 after:rounded group-hover:underline focus-visible:outline-none focus-visible:after:outline-2 focus-visible:after:outline-primary focus-visible:after:-outline-offset-2"
    >
      {title ?? <span className="font-mono font-normal text-muted-foreground text-xs">{id}</span>}
    </Link>
  );
}
