/** Which URL shows which page. Each page is loaded when it is opened. */
import { createRootRoute, createRoute, createRouter, lazyRouteComponent, retainSearchParams } from "@tanstack/react-router";
import { type CommonSearch, commonSearch, parseSearch, stringifySearch, textOf } from "@/lib/search.ts";
import { NotFound, PageFault } from "./faults.tsx";
import { Shell } from "./shell/shell.tsx";

const root = createRootRoute({
  component: Shell,
  validateSearch: commonSearch,
  // Whose events, when and in which zone: that goes along from page to page.
  search: { middlewares: [retainSearchParams<CommonSearch>(["agents", "range", "from", "to", "tz", "compare"])] },
  notFoundComponent: NotFound,
});

/** Reads the parameters of one page, all plain text. */
function texts<const K extends string>(...names: K[]): (raw: Record<string, unknown>) => { [N in K]?: string } {
  return (raw) => {
    const found: { [N in K]?: string } = {};
    for (const name of names) {
      const text = textOf(raw[name]);
      if (text !== undefined) found[name] = text;
    }
    return found;
  };
}

const overview = createRoute({
  getParentRoute: () => root,
  path: "/",
  validateSearch: texts("sort"),
  component: lazyRouteComponent(() => import("./home.tsx"), "Home"),
});

const agents = createRoute({
  getParentRoute: () => root,
  path: "/agents",
  validateSearch: texts("sort", "q", "status"),
  component: lazyRouteComponent(() => import("@/features/agents/agents.tsx"), "Agents"),
});

const agent = createRoute({
  getParentRoute: () => root,
  path: "/agents/$agentId",
  component: lazyRouteComponent(() => import("@/features/agent/agent.tsx"), "Agent"),
});

const event = createRoute({
  getParentRoute: () => root,
  path: "/agents/$agentId/events/$timestamp/$eventId",
  component: lazyRouteComponent(() => import("@/features/events/event.tsx"), "EventPage"),
});

const events = createRoute({
  getParentRoute: () => root,
  path: "/events",
  validateSearch: texts("filter", "event"),
  component: lazyRouteComponent(() => import("@/features/events/events.tsx"), "Events"),
});

const conversations = createRoute({
  getParentRoute: () => root,
  path: "/conversations",
  validateSearch: texts("status"),
  component: lazyRouteComponent(() => import("@/features/conversations/conversations.tsx"), "Conversations"),
});

const conversation = createRoute({
  getParentRoute: () => root,
  path: "/conversations/$conversationId",
  validateSearch: texts("agent", "event"),
  component: lazyRouteComponent(() => import("@/features/conversations/conversation.tsx"), "Conversation"),
});

const errors = createRoute({
  getParentRoute: () => root,
  path: "/errors",
  validateSearch: texts("type", "group", "q", "sort"),
  component: lazyRouteComponent(() => import("@/features/errors/errors.tsx"), "Errors"),
});

const pipeline = createRoute({
  getParentRoute: () => root,
  path: "/pipeline",
  validateSearch: texts("find", "dead"),
  component: lazyRouteComponent(() => import("@/features/pipeline/pipeline.tsx"), "Pipeline"),
});

export const router = createRouter({
  routeTree: root.addChildren([overview, agents, agent, event, events, conversations, conversation, errors, pipeline]),
  parseSearch,
  stringifySearch,
  defaultErrorComponent: PageFault,
  defaultPreload: "intent",
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
