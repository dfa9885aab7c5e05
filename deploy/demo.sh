#!/usr/bin/env bash
# Serves a demo from its own data directory and posts to it; both stop together.
# deploy/demo.sh BINARY LISTEN DATA_DIR [demo options]
set -euo pipefail
# Each job gets a process group of its own, so that Ctrl-C reaches them once: from here, in order.
set -m

binary=$1 listen=$2 data=$3
shift 3
url="http://$listen"
server= demo=

stop() {
  trap - INT TERM EXIT
  local process
  for process in $demo $server; do
    kill -INT "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
  done
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$binary" serve --listen "$listen" --data-dir "$data" &
server=$!
for _ in $(seq 300); do
  (exec 3<>"/dev/tcp/${listen%:*}/${listen##*:}") 2>/dev/null && break
  kill -0 "$server" 2>/dev/null || { echo "the server stopped; see above" >&2; exit 1; }
  sleep 0.1
done

"$binary" demo --url "$url" "$@" &
demo=$!
wait "$demo"
demo=
echo "The demo is over; $url stays up until Ctrl-C."
wait "$server"
