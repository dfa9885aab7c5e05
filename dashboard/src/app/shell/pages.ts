import { Activity, Bot, CircleAlert, LayoutDashboard, type LucideIcon, MessagesSquare, Workflow } from "lucide-react";

export interface Page {
  to: "/" | "/agents" | "/events" | "/conversations" | "/errors" | "/pipeline";
  title: string;
  /** Where there is little room. */
  short: string;
  icon: LucideIcon;
  /** Pressed after `g`. */
  key: string;
}

export const PAGES: readonly Page[] = [
  { to: "/", title: "Overview", short: "Overview", icon: LayoutDashboard, key: "o" },
  { to: "/agents", title: "Agents", short: "Agents", icon: Bot, key: "a" },
  { to: "/events", title: "Live events", short: "Events", icon: Activity, key: "e" },
  { to: "/conversations", title: "Conversations", short: "Talks", icon: MessagesSquare, key: "c" },
  { to: "/errors", title: "Errors", short: "Errors", icon: CircleAlert, key: "r" },
  { to: "/pipeline", title: "Pipeline health", short: "Health", icon: Workflow, key: "p" },
];
