#!/usr/bin/env bash
# Looks for inputs that break a parser: builds the fuzzers with coverage counters, runs each for FUZZ_SECONDS on the kept
# inputs and those found before, and says what came of it. `deploy/fuzz/fuzz.sh keep` takes what reached new code into
# deploy/fuzz/corpus, as few and as small inputs as cover it. `deploy/setup.sh build` installs what is needed.
#
# FUZZ_TARGETS   which (by default all; the names in corpus/)
# FUZZ_SECONDS   seconds per target, 600
# FUZZ_ARGS      more arguments for libFuzzer
set -euo pipefail
cd "$(dirname "$0")/../.."

job=${1:-run}
seconds=${FUZZ_SECONDS:-600}
corpus=deploy/fuzz/corpus
work=${CARGO_TARGET_DIR:-target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
read -ra targets <<<"${FUZZ_TARGETS:-$(ls "$corpus" | tr '\n' ' ')}"
read -ra arguments <<<"${FUZZ_ARGS:-}"

# Kept inputs are small, so that there can be many; an input without end would show in time or memory.
bounds=(-max_len=4096 -timeout=30 -rss_limit_mb=2048)
# Sets of users have up to 6 KB, rows of an export some more than others.
declare -A longest=([users]=8192 [archive]=8192 [bodies]=8192)

build() {
  local coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
  coverage+=" -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
  # A target of its own keeps build scripts and macros from being counted, a directory of its own the plain builds from being redone.
  RUSTFLAGS="$coverage" CARGO_TARGET_DIR="$work" cargo build --locked --profile fuzz --target "$host" -p fuzz --features libfuzzer --bins
}

# Runs one fuzzer; what it says goes to a file.
run() {
  local target=$1 log=$work/$1.log
  mkdir -p "$work/corpus/$target" "$work/findings/$target"
  local status=0
  "$work/$host/fuzz/$target" "${bounds[@]}" -max_len="${longest[$target]:-4096}" -max_total_time="$seconds" -print_final_stats=1 \
    -artifact_prefix="$work/findings/$target/" "${arguments[@]}" "$work/corpus/$target" "$corpus/$target" >"$log" 2>&1 || status=$?
  local covered executed
  covered=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -n 1 || true)
  executed=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  printf '%-12s %10s executions  %s\n' "$target" "${executed:-?}" "${covered:-no coverage}"
  [ "$status" = 0 ] && return
  grep -v '^#' "$log" | tail -n 30
  echo "$target: a finding, in $work/findings/$target; try it again: $work/$host/fuzz/$target FILE"
  return 1
}

keep() {
  local target=$1
  local kept
  kept=$(mktemp -d)
  "$work/$host/fuzz/$target" "${bounds[@]}" -max_len="${longest[$target]:-4096}" -set_cover_merge=1 -use_counters=0 "$kept" "$corpus/$target" "$work/corpus/$target" >/dev/null 2>&1
  # What was put there by hand stays under its name.
  find "$corpus/$target" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
  cp "$kept"/* "$corpus/$target/"
  rm -r "$kept"
  printf '%-12s %s\n' "$target" "$(find "$corpus/$target" -type f | wc -l) inputs, $(du -sb "$corpus/$target" | cut -f 1) bytes"
}

build
found=0
for target in "${targets[@]}"; do
  case $job in
    run) run "$target" || found=1 ;;
    keep) keep "$target" ;;
    *) echo "which job: run or keep" >&2; exit 2 ;;
  esac
done
exit "$found"
