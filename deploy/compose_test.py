"""Runs what docker-compose.yml describes without containers: the same commands and environments as plain processes, with a real
Apache Kafka (configured by the same KAFKA_* variables), DynamoDB Local and nginx. Only host names, ports and paths are replaced.

    python3 deploy/compose_test.py BINARIES NGINX      (needs ruamel.yaml and the engines' jars in .engines; `make test-compose`)
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

from ruamel.yaml import YAML

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES, NGINX = pathlib.Path(sys.argv.pop(1)).resolve(), sys.argv.pop(1)
ENGINES = pathlib.Path(os.environ.get("AGENT_TALLY_ENGINES_DIR", ROOT / ".engines"))
SERVICES = YAML(typ="safe").load(ROOT / "docker-compose.yml")["services"]
READY_WITHIN_S = 40


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def interpolated(value, given):
    """${NAME}, ${NAME-default} and ${NAME:-default}, as compose reads them."""
    return re.sub(r"\$\{(\w+)(?::?-([^}]*))?\}", lambda match: given.get(match[1], match[2] or ""), str(value))


class Stack:
    """One profile's services as processes of this machine."""

    def __init__(self, suffix="", given=None):
        self.suffix, self.given = suffix, given or {}
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="agent-tally-compose-"))
        self.processes = []
        # What a container's address would be, and where it is here.
        self.places = {name: free_port() for name in ["kafka:9092", "kafka:9093", "dynamodb:8000", "gateway:8010", "gateway:9010", "query:8011", "query:9011", "aggregator:9012", "proxy"]}

    def at(self, place):
        return f"127.0.0.1:{self.places[place]}"

    def start(self):
        self.start_kafka()
        self.start_dynamodb()
        self.start_service("aggregator", "aggregator", {"0.0.0.0:9012": self.at("aggregator:9012")})
        self.await_http(self.at("aggregator:9012"), "/health/ready")
        self.start_service("ingest-gateway" + self.suffix, "ingest-gateway", {"0.0.0.0:8010": self.at("gateway:8010"), "0.0.0.0:9010": self.at("gateway:9010")})
        self.start_service("query-api" + self.suffix, "query-api", {"0.0.0.0:8011": self.at("query:8011"), "0.0.0.0:9011": self.at("query:9011")})
        self.await_http(self.at("gateway:9010"), "/health/ready")
        self.await_http(self.at("query:9011"), "/health/ready")
        self.start_nginx()

    def run(self, name, command, environment=None):
        log = open(self.directory / f"{name}.log", "w")
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory, env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **(environment or {})})
        log.close()
        self.processes.append((name, process))

    def environment(self, service):
        values = {}
        for name, value in SERVICES[service].get("environment", {}).items():
            value = self.given.get(name) if value is None else interpolated(value, self.given)
            if value is not None:
                values[name] = value.replace("kafka:9092", self.at("kafka:9092")).replace("dynamodb:8000", self.at("dynamodb:8000"))
        return values

    def start_service(self, service, binary, addresses):
        command = [addresses.get(word, word) for word in SERVICES[service]["command"]]
        # Addresses beyond loopback are what --insecure and --require-keys are about; here they are loopback.
        self.run(service, [BINARIES / binary, *command], self.environment(service))

    def start_kafka(self):
        lib = f"{ENGINES}/kafka/lib/*"
        settings = {name[6:].lower().replace("_", "."): str(value) for name, value in SERVICES["kafka"]["environment"].items() if not name.endswith("_OPTS")}
        settings["log.dirs"] = str(self.directory / "kafka")
        for name in ("listeners", "advertised.listeners", "controller.quorum.voters"):
            for place in ("9092", "9093"):
                settings[name] = re.sub(rf"(?:kafka)?:{place}\b", self.at(f"kafka:{place}"), settings[name])
        properties = self.directory / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        java = ["java", "-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", lib]
        subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", "5L6g3nShT-eMCtK--X86sw", "-c", properties], check=True, capture_output=True)
        self.run("kafka", [*java, "kafka.Kafka", properties])
        self.await_port(self.at("kafka:9092"))

    def start_dynamodb(self):
        lib = ENGINES / "dynamodb/lib"
        command = SERVICES["dynamodb"]["command"]
        arguments = ["." if word == "/data" else word for word in command[command.index("DynamoDBLocal.jar") + 1:]]
        self.run("dynamodb", ["java", "-Xmx400m", "-XX:+UseSerialGC", f"-Djava.library.path={lib}", "-cp", f"{lib}/*",
                              "software.amazon.dynamodb.services.local.main.ServerRunner", *arguments, "-port", str(self.places["dynamodb:8000"])])
        self.await_port(self.at("dynamodb:8000"))

    def start_nginx(self):
        configuration = self.directory / "nginx"
        shutil.copytree(ROOT / "deploy/nginx", configuration)
        for file in configuration.glob("*.conf"):
            text = file.read_text().replace("/tmp/", f"{self.directory}/").replace("/dev/stdout", f"{self.directory}/access.log").replace("/dev/stderr", f"{self.directory}/error.log")
            text = text.replace("listen 8001", f"listen {self.at('proxy')}")
            text = text.replace("server ingest-gateway:8010 resolve", f"server {self.at('gateway:8010')}").replace("server query-api:8011 resolve", f"server {self.at('query:8011')}")
            file.write_text(text)
        self.run("nginx", [NGINX, "-p", configuration, "-c", configuration / "nginx.conf", "-e", f"{self.directory}/error.log", "-g", "daemon off; master_process off;"])
        self.await_http(self.at("proxy"), "/health")

    def await_port(self, address):
        host, port = address.split(":")
        self.await_that(lambda: socket.create_connection((host, int(port)), timeout=1).close() is None, lambda: f"{address} to listen")

    def await_http(self, address, path):
        answers = [None]

        def is_well():
            answers[0] = ask(f"http://{address}{path}")
            return answers[0][0] == 200

        self.await_that(is_well, lambda: f"{path} at {address}, which says {answers[0]}")

    def await_that(self, is_so, what):
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            try:
                if is_so():
                    return
            except OSError:
                pass
            for name, process in self.processes:
                if process.poll() is not None:
                    raise AssertionError(f"{name} ended while waiting for {what()}:\n{(self.directory / f'{name}.log').read_text()[-4000:]}")
            time.sleep(0.1)
        logs = "\n".join(f"== {name}\n{(self.directory / f'{name}.log').read_text()[-2000:]}" for name, _ in self.processes)
        raise AssertionError(f"waited in vain for {what()}\n{logs}")

    def stop(self):
        """Orderly and in reverse; tells who had to be killed."""
        stubborn = []
        for name, process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                stubborn.append(name)
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
        return stubborn


def ask(url, body=None, headers=None, content_type="application/json"):
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={**({"content-type": content_type} if data is not None else {}), **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def metrics_in_use():
    """Base names of what alerts and dashboards ask for."""
    text = (ROOT / "deploy/prometheus/alerts.yml").read_text() + (ROOT / "deploy/grafana/dashboards/agent-tally.json").read_text()
    return {re.sub(r"_bucket$|_count$", "", name) for name in re.findall(r"\b((?:aggregator|dynamodb|events|publish|ingest|http)_[a-z_]+)\b", text)}


class LocalProfile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack()
        try:
            cls.stack.start()
        except BaseException:
            cls.stack.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        assert cls.stack.stop() == [], "had to be killed"

    def test_an_event_posted_at_the_proxy_is_in_the_numbers_at_the_proxy(self):
        proxy = f"http://{self.stack.at('proxy')}"
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        status, answer = ask(f"{proxy}/api/v1/agents/support-bot/events", {"timestamp": f"{now}.123456", "message_type": "user_message", "content": "hello", "metadata": {"user_id": "u-1"}})
        self.assertEqual((status, answer.get("status")), (202, "success"), answer)
        lines = "\n".join(json.dumps({"agent_id": "support-bot", "event_id": f"e-{i}", "timestamp": f"{now}Z", "message_type": "agent_response", "response_time_ms": 10 + i}) for i in range(100))
        status, batch = ask(f"{proxy}/api/v1/events", lines.encode(), content_type="application/x-ndjson")
        self.assertEqual((status, batch.get("accepted")), (202, 100), batch)
        # Twice, as an impatient client would.
        self.assertEqual(ask(f"{proxy}/api/v1/events", lines.encode(), content_type="application/x-ndjson")[0], 202)
        for receipt in (answer["receipt"], batch["receipt"]):
            status, seen = ask(f"{proxy}/api/v1/receipts/{receipt}?wait_ms=10000")
            self.assertEqual((status, seen.get("counted")), (200, True), seen)
        status, numbers = ask(f"{proxy}/api/v1/agents/support-bot/metrics?days=2")
        self.assertEqual(status, 200, numbers)
        counted = numbers["metrics"]
        self.assertEqual((counted["total_messages"], counted["total_responses"], counted["unique_users"]), (1, 100, 1), counted)
        status, events = ask(f"{proxy}/api/v1/events?agent_id=support-bot&limit=3")
        self.assertEqual((status, len(events["items"])), (200, 3), events)
        self.assertEqual(ask(f"{proxy}/api/v1/agents")[1], ["support-bot"])

        with urllib.request.urlopen(f"{proxy}/api/v1/stream", timeout=30) as stream:
            self.assertTrue(stream.headers["content-type"].startswith("text/event-stream"))
            self.assertTrue(stream.readline())

        shown = ""
        for place in ("gateway:9010", "query:9011", "aggregator:9012"):
            shown += urllib.request.urlopen(f"http://{self.stack.at(place)}/metrics", timeout=10).read().decode()
        # Only seen once it happens: refusals, errors, dead letters.
        rare = {"events_rejected_total", "dynamodb_errors_total", "aggregator_dead_letters_total"}
        missing = {name for name in metrics_in_use() - rare if not re.search(rf"^{name}(?:_bucket|_count)?(?:{{| )", shown, re.M)}
        self.assertEqual(missing, set(), "asked for by alerts or dashboards, shown by no service")

    def test_errors_through_the_proxy_are_problems_with_the_services_own_headers(self):
        proxy = f"http://{self.stack.at('proxy')}"
        status, problem = ask(f"{proxy}/api/v1/agents/support-bot/events", b"{")
        self.assertEqual((status, problem["status"]), (400, 400), problem)
        self.assertEqual(ask(f"{proxy}/api/v1/nothing")[0], 404)
        self.assertEqual(ask(f"{proxy}/health", headers={"Host": "evil.example"})[0], 403)
        with urllib.request.urlopen(f"{proxy}/docs", timeout=10) as page:
            self.assertEqual(len(page.headers.get_all("content-security-policy")), 1)
            self.assertIn("'self'", page.headers["content-security-policy"])


class ProductionProfile(unittest.TestCase):
    """The services of `production` and the keys that open them; TLS is tested in deploy/nginx/routes_test.py."""

    @classmethod
    def setUpClass(cls):
        cls.stack = Stack("-production", {"SERVER_NAME": "tally.example"})
        try:
            cls.stack.start()
        except BaseException:
            cls.stack.stop()
            raise

    @classmethod
    def tearDownClass(cls):
        assert cls.stack.stop() == [], "had to be killed"

    def key(self, scope):
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **self.stack.environment("keys")}
        # As `docker compose run --rm keys create …` would.
        command = [BINARIES / SERVICES["keys"]["entrypoint"][0], *SERVICES["keys"]["entrypoint"][1:], "create", "--dynamodb", "--scope", scope, "--name", scope]
        made = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=self.stack.directory)
        self.assertEqual(made.returncode, 0, made.stderr)
        return re.search(r"\bat_[A-Za-z0-9_-]+", made.stdout).group(0)

    def test_keys_open_what_their_scope_allows_and_nothing_is_open_without(self):
        proxy, host = f"http://{self.stack.at('proxy')}", {"Host": "tally.example"}
        event = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000001Z", time.gmtime()), "message_type": "user_message"}
        post, read = f"{proxy}/api/v1/agents/a/events", f"{proxy}/api/v1/agents"
        self.assertEqual(ask(post, event, host)[0], 401)
        self.assertEqual(ask(read, headers=host)[0], 401)
        ingest, reading = self.key("ingest"), self.key("read")
        # New keys are known within the services' refresh.
        self.stack.await_that(lambda: ask(post, event, {**host, "X-API-Key": ingest})[0] == 202, lambda: "the ingest key to be known")
        self.stack.await_that(lambda: ask(read, headers={**host, "Authorization": f"Bearer {reading}"})[0] == 200, lambda: "the read key to be known")
        self.assertEqual(ask(post, event, {**host, "X-API-Key": reading})[0], 403)
        self.assertEqual(ask(read, headers={**host, "X-API-Key": ingest})[0], 403)


if __name__ == "__main__":
    unittest.main()
