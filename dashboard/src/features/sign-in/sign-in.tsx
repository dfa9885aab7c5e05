import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { createSession, getSession } from "@/api/generated.ts";
import { Button } from "@/components/ui/button.tsx";
import { Card } from "@/components/ui/card.tsx";
import { Input } from "@/components/ui/input.tsx";

const NOT_KEPT =
  "The key is right, but this browser does not keep the sign-in: cookies are off, or this page and the server are of different sites. Open the dashboard at an address of the same site as the server.";

/** Takes an API key once; a cookie that scripts cannot read comes back. */
export function SignIn() {
  const [key, setKey] = useState("");
  const client = useQueryClient();
  const signIn = useMutation({
    mutationFn: async () => {
      await createSession({ key: key.trim() });
      // The cookie cannot be seen from here; whether the browser sends it back can.
      if (!(await getSession()).is_signed_in) throw new Error(NOT_KEPT);
    },
    onSuccess: async () => {
      setKey("");
      await client.invalidateQueries();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (key.trim()) signIn.mutate();
  };
  return (
    <main className="flex min-h-full items-center justify-center p-4">
      <Card aria-labelledby="sign-in" className="w-full max-w-sm p-6">
        <h1 id="sign-in" className="font-semibold text-base">
          Sign in to Agent Tally
        </h1>
        <p className="mt-1 text-muted-foreground">This server asks for an API key with the scope “read”.</p>
        <form onSubmit={submit} className="mt-4 flex flex-col gap-3">
          <label htmlFor="sign-in-key" className="flex flex-col gap-1 font-medium">
            API key
            <Input
              id="sign-in-key"
              type="password"
              autoComplete="current-password"
              spellCheck={false}
              value={key}
              onChange={(event) => setKey(event.target.value)}
              aria-invalid={signIn.isError}
              aria-describedby="sign-in-error"
            />
          </label>
          <p id="sign-in-error" role="alert" className="min-h-4 text-bad">
            {signIn.error?.message}
          </p>
          <Button type="submit" variant="primary" disabled={signIn.isPending || key.trim() === ""}>
            {signIn.isPending ? "Signing in …" : "Sign in"}
          </Button>
        </form>
        <p className="mt-4 text-muted-foreground text-xs">
          Whoever runs this server makes keys with{" "}
          <code className="font-mono">agent-tally keys create --scope read --name …</code>
        </p>
      </Card>
    </main>
  );
}
