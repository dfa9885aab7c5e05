import { Link } from "@tanstack/react-router";
import { BookOpen, LogOut } from "lucide-react";
import { API_BASE } from "@/api/http.ts";
import { PAGES } from "./pages.ts";
import { useSignOut } from "./sign-out.ts";

const entry =
  "flex items-center gap-2.5 rounded-md px-2.5 py-1.5 text-muted-foreground hover:bg-muted hover:text-foreground aria-[current=page]:bg-primary-soft aria-[current=page]:font-medium aria-[current=page]:text-primary [&_svg]:size-4";

/** At the left edge, where there is room. */
export function Navigation({ canSignOut }: { canSignOut: boolean }) {
  return (
    <aside className="sticky top-0 hidden h-dvh w-48 shrink-0 flex-col border-r bg-card px-3 py-4 lg:flex">
      <Link to="/" className="mb-4 flex items-center gap-2 px-2 font-semibold text-base">
        <Logo /> Agent Tally
      </Link>
      <nav aria-label="Pages" className="flex flex-col gap-0.5">
        {PAGES.map(({ to, title, icon: Icon }) => (
          <Link key={to} to={to} activeOptions={{ exact: to === "/", includeSearch: false }} className={entry}>
            <Icon aria-hidden /> {title}
          </Link>
        ))}
      </nav>
      <div className="mt-auto flex flex-col gap-0.5">
        <a href={`${API_BASE}/docs`} className={entry}>
          <BookOpen aria-hidden /> API
        </a>
        {canSignOut && <SignOut />}
      </div>
    </aside>
  );
}

function SignOut() {
  const signOut = useSignOut();
  return (
    <>
      <button type="button" className={entry} onClick={() => signOut.mutate()}>
        <LogOut aria-hidden /> Sign out
      </button>
      {signOut.isError && (
        <p role="alert" className="px-2.5 text-bad text-xs">
          Not signed out: {signOut.error.message}
        </p>
      )}
    </>
  );
}

/** At the lower edge, on phones. */
export function NavigationBar() {
  return (
    <nav aria-label="Pages" className="fixed inset-x-0 bottom-0 z-40 grid grid-cols-6 border-t bg-card lg:hidden">
      {PAGES.map(({ to, short, icon: Icon }) => (
        <Link
          key={to}
          to={to}
          activeOptions={{ exact: to === "/", includeSearch: false }}
          className="flex min-w-0 flex-col items-center gap-0.5 py-2 text-2xs text-muted-foreground aria-[current=page]:font-medium aria-[current=page]:text-primary [&_svg]:size-5"
        >
          <Icon aria-hidden /> {short}
        </Link>
      ))}
    </nav>
  );
}

export function Logo() {
  return (
    <svg aria-hidden viewBox="0 0 32 32" className="size-6 shrink-0">
      <rect width="32" height="32" rx="7" fill="#1f5fd0" />
      <path
        d="M8.5 9v14M13.5 9v14M18.5 9v14M23.5 9v14M5.8 20.5 26.2 11.5"
        stroke="#fff"
        strokeWidth="2.6"
        strokeLinecap="round"
        fill="none"
      />
    </svg>
  );
}
