"""What the compose schema cannot say: references hold in every combination of profiles, and the rules of this project are kept
(nothing open to the network but the TLS proxy, every service supervised and bounded).

    python3 deploy/check_compose.py      (needs ruamel.yaml, which `deploy/setup.sh check` installs)
"""

import pathlib
import re
import sys

from ruamel.yaml import YAML

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROFILES = [{"local"}, {"production"}, {"local", "monitoring"}, {"local", "keys"}, {"production", "keys", "monitoring"}]

compose = YAML(typ="safe").load(ROOT / "docker-compose.yml")
services = compose["services"]
faults = []


def fault(service, what):
    faults.append(f"docker-compose.yml: {service}: {what}")


def dockerfile_targets():
    words = [line.split() for line in (ROOT / "deploy/Dockerfile").read_text().splitlines() if line.startswith("FROM ")]
    return {line[-1] for line in words if line[-2:-1] == ["AS"]}


for profiles in PROFILES:
    active = {name for name, service in services.items() if not service.get("profiles") or profiles & set(service["profiles"])}
    for name in active:
        for needed, how in services[name].get("depends_on", {}).items():
            if needed not in active:
                fault(name, f"needs {needed}, which is not started with {sorted(profiles)}")
            elif how["condition"] == "service_healthy" and not (services[needed].get("healthcheck") or services[needed].get("build")):
                fault(name, f"waits for the health of {needed}, which has no health check")

for name, service in services.items():
    for network in service.get("networks", []):
        if network not in compose["networks"]:
            fault(name, f"network {network} is not defined")
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("./"):
            if not (ROOT / source).exists():
                fault(name, f"{source} does not exist")
        elif not source.startswith("$") and source not in compose["volumes"]:
            fault(name, f"volume {source} is not defined")
    if "build" in service and service["build"]["target"] not in dockerfile_targets():
        fault(name, f"deploy/Dockerfile has no target {service['build']['target']}")
    for port in service.get("ports", []):
        if not port.startswith("127.0.0.1:") and name != "proxy-production":
            fault(name, f"publishes {port} beyond this machine")
    if "--insecure" in service.get("command", []) and service.get("profiles") != ["local"]:
        fault(name, "is open without keys outside the local profile")
    if name.endswith("-production") and "build" in service and "--require-keys" not in service["command"]:
        fault(name, "does not require keys")
    if name == "keys":
        continue
    if service.get("restart") != "unless-stopped":
        fault(name, "has no restart rule")
    if "limits" not in service.get("deploy", {}).get("resources", {}):
        fault(name, "has no resource limits")
    if not service.get("healthcheck") and "build" not in service:
        fault(name, "has no health check")
    if service["image"].startswith("agent-tally/") and not service.get("read_only"):
        fault(name, "can write to its root file system")

# The image's build reads the whole workspace, so the context must have every member.
context = (ROOT / ".dockerignore").read_text().splitlines()
for member in re.findall(r'^  "([^"]+)",$', (ROOT / "Cargo.toml").read_text().split("members = [")[1].split("]")[0], re.M):
    if f"!{member}" not in context:
        faults.append(f".dockerignore: leaves out the workspace member {member}")

for line in faults:
    print(line, file=sys.stderr)
print(f"docker-compose.yml: {len(services)} services, {len(PROFILES)} combinations of profiles, {len(faults)} faults")
sys.exit(1 if faults else 0)
