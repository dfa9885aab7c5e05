import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { createSession } from "@/api/generated.ts";
import { Button } from "@/components/ui/button.tsx";
import { Card } from "@/components/ui/card.tsx";
import { Input } from "@/components/ui/input.tsx";
import { liveClient } from "@/lib/live.ts";

/** Takes an API key once; a cookie that scripts cannot read comes back. */
export function SignIn() {
  const [key, setKey] = useState("");
  const client = useQueryClient();
  const signIn = useMutation({
    mutationFn: () => createSession({ key: key.trim() }),
    onSuccess: async () => {
      setKey("");
      await client.invalidateQueries();
      liveClient.retryNow();
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
