import { useMutation, useQueryClient } from "@tanstack/react-query";
import { deleteSession } from "@/api/generated.ts";

/** Ends the session on the server, and forgets here what it showed. */
export function useSignOut() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => deleteSession(),
    onSuccess: () => {
      client.clear();
      location.assign("/");
    },
  });
}
