/** The bar above every page: whose events, from when to when, how live, how to look. */
import { Monitor, Moon, Search, Sun } from "lucide-react";
import { Button } from "@/components/ui/button.tsx";
import { Menu, MenuItem } from "@/components/ui/menu.tsx";
import { setTheme, THEMES, type Theme, useTheme } from "@/lib/theme.ts";
import { AgentScope } from "./agent-scope.tsx";
import { LiveStatus } from "./live-status.tsx";
import { openPalette } from "./overlays.ts";
import { RangePicker } from "./range-picker.tsx";

export function CommonBar() {
  return (
    <header className="sticky top-0 z-30 flex flex-wrap items-center gap-1.5 border-b bg-background/95 px-3 py-2 backdrop-blur sm:gap-2 sm:px-5">
      <AgentScope />
      <RangePicker />
      <span className="ml-auto flex items-center gap-1.5">
        <LiveStatus />
        <Button
          variant="ghost"
          size="icon"
          aria-label="Search and commands"
          aria-keyshortcuts="Control+K Meta+K"
          onClick={openPalette}
        >
          <Search />
        </Button>
        <ThemeMenu />
      </span>
    </header>
  );
}

const ICONS = { system: Monitor, light: Sun, dark: Moon } as const;
const NAMES: Record<Theme, string> = { system: "As the system", light: "Light", dark: "Dark" };

function ThemeMenu() {
  const theme = useTheme();
  const Icon = ICONS[theme];
  const trigger = (
    <Button variant="ghost" size="icon" aria-label={`Theme: ${NAMES[theme]}`}>
      <Icon />
    </Button>
  );
  return (
    <Menu trigger={trigger} label="Theme">
      {THEMES.map((each) => {
        const EachIcon = ICONS[each];
        return (
          <MenuItem key={each} isChosen={each === theme} onSelect={() => setTheme(each)}>
            <EachIcon aria-hidden /> {NAMES[each]}
          </MenuItem>
        );
      })}
    </Menu>
  );
}
