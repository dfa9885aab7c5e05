"""Holds the documents against the code:
- every environment variable that README.md's tables or docker-compose.yml name is read by the code, and every one that the code
  reads is in README.md;
- every metric that the alerts and dashboards use is recorded by the code;
- every file that README.md and docs/ link to or name in the walk of an event exists;
- every `make` target that they name exists.

    python3 deploy/check_docs.py
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Read by libraries, not by a clap argument of ours.
BY_LIBRARIES = {
    "RUST_LOG", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_DYNAMODB",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
}
# Recorded by Prometheus itself.
BY_PROMETHEUS = {"up"}
# Functions, labels and words of PromQL are told from metrics by their context; see metrics_in.
faults = []

rust = {path: path.read_text() for path in ROOT.glob("**/src/**/*.rs") if "target" not in path.parts}
code = "\n".join(rust.values())
documents = {name: (ROOT / name).read_text() for name in ["README.md", "docs/decisions.md", "docs/reliability.md", "docs/performance.md", "CONTRIBUTING.md", "CHANGELOG.md"]}
readme = documents["README.md"]


def clap_variables():
    """Names in `env = "NAME"`, without the hidden ones (they are for tests)."""
    arguments = re.findall(r"#\[(?:arg|clap)\((.*?)\)\]\s*\n", code, re.S)
    return {name for text in arguments if not re.search(r"\bhide\s*=\s*true", text) for name in re.findall(r'env\s*=\s*"([A-Z0-9_]+)"', text)}


def all_variables():
    return set(re.findall(r'"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"', code)) | set(re.findall(r'env\s*=\s*"([A-Z0-9_]+)"', code)) | BY_LIBRARIES


def documented_variables():
    """The first cell of a table row: | `NAME` | ..."""
    return set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)`", readme, re.M))


def compose_variables():
    text = (ROOT / "docker-compose.yml").read_text()
    block = re.search(r"^x-environment:.*?(?=^\S)", text, re.M | re.S).group(0)
    return set(re.findall(r"^  ([A-Z][A-Z0-9_]+):", block, re.M)) | set(re.findall(r"^      (ALLOWED_HOSTS):", text, re.M))


def metrics_in(expression):
    without_labels = re.sub(r"\{[^}]*\}|\b(?:by|without|on|ignoring|group_left)\s*\([^)]*\)|\"[^\"]*\"|\[[^\]]*\]|\$\w+", "", expression)
    words = re.findall(r"\b([a-z][a-z0-9_]*)\b(?!\s*\()", without_labels)
    return {word for word in words if word not in {"and", "or", "unless", "bool", "by", "without", "offset", "inf"} and not re.fullmatch(r"\d+[smhd]", word)}


def used_metrics():
    used = {}
    for line in (ROOT / "deploy/prometheus/alerts.yml").read_text().splitlines():
        if match := re.match(r"\s*expr: (.*)", line):
            used.setdefault("deploy/prometheus/alerts.yml", set()).update(metrics_in(match.group(1)))
    for file in (ROOT / "deploy/grafana/dashboards").glob("*.json"):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                used.setdefault(str(file.relative_to(ROOT)), set()).update(metrics_in(target["expr"]))
    return used


for name in sorted(clap_variables() - documented_variables()):
    faults.append(f"README.md: {name} is read by the code and not in a table")
for name in sorted(documented_variables() - all_variables()):
    faults.append(f"README.md: {name} is in a table and not read by the code")
for name in sorted(compose_variables() - all_variables()):
    faults.append(f"docker-compose.yml: {name} is not read by the code")

literals = set(re.findall(r'"([a-z][a-z0-9_]+)"', code))
for file, names in used_metrics().items():
    for name in sorted(names - BY_PROMETHEUS):
        if name not in literals and re.sub(r"_(bucket|sum|count)$", "", name) not in literals:
            faults.append(f"{file}: no metric {name} in the code")

targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
for document, text in documents.items():
    folder = (ROOT / document).parent
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        if not (folder / link).exists():
            faults.append(f"{document}: links to {link}, which does not exist")
    for path in re.findall(r"`((?:[a-z][a-z-]*/)+[a-z_./-]+\.[a-z]+)`", text):
        if not (ROOT / path).exists():
            faults.append(f"{document}: names {path}, which does not exist")
    for name in re.findall(r"`([a-z_]+\.rs)`", text):
        if not any(path.name == name for path in rust):
            faults.append(f"{document}: no file {name}")
    for target in re.findall(r"\bmake ([a-z][a-z-]*)", "\n".join(re.findall(r"`[^`\n]*`|^    .*$|^make .*$", text, re.M))):
        if target not in targets:
            faults.append(f"{document}: make {target} does not exist")

# A test that a document tells to run: cargo test -p PACKAGE [--test it] [NAME]. A name that matches nothing would pass.
crates = {re.search(r'^name = "(.*)"', path.read_text(), re.M).group(1): path.parent for path in ROOT.glob("**/Cargo.toml") if path.parent != ROOT and "target" not in path.parts}
for document, text in documents.items():
    for package, name in re.findall(r"cargo test -p ([a-z-]+)(?: --(?:lib|test [a-z]+))?(?: ([a-z_0-9:]+))?", text):
        if package not in crates:
            faults.append(f"{document}: no package {package}")
        elif name and not any(re.search(rf"fn \w*{name.split('::')[-1]}|mod {name.split('::')[0]}\b", path.read_text()) or path.stem == name for path in crates[package].glob("**/*.rs")):
            faults.append(f"{document}: no test {name} in {package}")

for line in faults:
    print(line, file=sys.stderr)
print(f"{len(documented_variables())} environment variables, {sum(map(len, used_metrics().values()))} uses of metrics, {len(faults)} faults")
sys.exit(1 if faults else 0)
