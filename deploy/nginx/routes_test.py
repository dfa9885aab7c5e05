"""Starts the real nginx with both configurations against stand-ins for the services and sends requests through it:
who answers what, streams, WebSocket, compression, headers, refusals. Only ports and addresses are replaced.

    python3 deploy/nginx/routes_test.py PATH_TO_NGINX
"""

import contextlib
import gzip
import http.client
import json
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HERE = pathlib.Path(__file__).resolve().parent
NGINX = sys.argv.pop(1) if len(sys.argv) > 1 else "nginx"


class StandIn(BaseHTTPRequestHandler):
    """Answers with what it was asked, under the service's name."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/api/v1/stream":
            return self.stream()
        if self.path == "/api/v1/ws":
            return self.web_socket()
        reply = {"service": self.server.name, "method": self.command, "path": self.path, "headers": dict(self.headers), "size": len(body)}
        if self.path.startswith("/long"):
            reply["filler"] = "x" * 4000
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if self.path == "/page":
            self.send_header("content-security-policy", "default-src 'self'")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_HEAD = answer

    def stream(self):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("cache-control", "no-cache")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b"id: 1\ndata: first\n\n")
        self.wfile.flush()
        # The second message exists only once the client has the first: a proxy that buffers never gets here.
        self.server.first_was_seen.wait(20)
        self.wfile.write(b"id: 2\ndata: second\n\n")
        self.close_connection = True

    def web_socket(self):
        if self.headers.get("upgrade") != "websocket" or self.headers.get("connection", "").lower() != "upgrade":
            return self.send_error(426)
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.end_headers()
        self.wfile.write(self.rfile.read(5).upper())
        self.close_connection = True

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Proxy:
    """nginx on free ports with the configuration of that name, and the stand-ins behind it."""

    def __init__(self, main_file, upstreams_file, listens):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="agent-tally-nginx-"))
        self.services = {}
        for name in ("gateway", "query_api"):
            server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
            server.name, server.daemon_threads, server.first_was_seen = name, True, threading.Event()
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.services[name] = server
        for file in HERE.glob("*.conf"):
            shutil.copy(file, self.directory)
        self.ports = {listen: free_port() for listen in listens}
        main = (HERE / main_file).read_text().replace("/tmp/", f"{self.directory}/").replace("/etc/nginx/certificates", str(self.directory))
        for listen, port in self.ports.items():
            assert f"listen {listen}" in main, f"{main_file} does not listen on {listen}"
            main = main.replace(f"listen {listen}", f"listen 127.0.0.1:{port}")
        upstreams = (HERE / upstreams_file).read_text()
        for service, server in (("ingest-gateway", "gateway"), ("query-api", "query_api")):
            for suffix in ("", "-production"):
                port = self.services[server].server_address[1]
                old = f"server {service}{suffix}:{8010 if server == 'gateway' else 8011} resolve"
                upstreams = upstreams.replace(old, f"server 127.0.0.1:{port}")
        assert "resolve;" not in upstreams, upstreams
        shared = (HERE / "http.conf").read_text().replace("/tmp/", f"{self.directory}/").replace("/dev/stdout", f"{self.directory}/access.log")
        (self.directory / main_file).write_text(main.replace("/dev/stderr", f"{self.directory}/error.log"))
        (self.directory / upstreams_file).write_text(upstreams)
        (self.directory / "http.conf").write_text(shared)
        subprocess.run(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost "
            f"-keyout {self.directory}/privkey.pem -out {self.directory}/fullchain.pem",
            shell=True, check=True, capture_output=True,
        )
        self.process = subprocess.Popen(
            [NGINX, "-p", str(self.directory), "-c", str(self.directory / main_file), "-e", f"{self.directory}/error.log",
             "-g", "daemon off; master_process off;"],
        )
        for port in self.ports.values():
            self.wait_for(port)

    def wait_for(self, port):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        log = self.directory / "error.log"
        raise AssertionError(f"nginx did not start: {log.read_text() if log.exists() else 'no log'}")

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        for server in self.services.values():
            server.first_was_seen.set()
            server.shutdown()
            server.server_close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, method, path, body=None, headers=None, listen="8001"):
        if listen == "8443":
            insecure = ssl._create_unverified_context()
            line = http.client.HTTPSConnection("127.0.0.1", self.ports[listen], timeout=20, context=insecure)
        else:
            line = http.client.HTTPConnection("127.0.0.1", self.ports[listen], timeout=20)
        with contextlib.closing(line):
            line.request(method, path, body=body, headers=headers or {})
            answer = line.getresponse()
            return answer, answer.read()


class LocalProxy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.proxy = Proxy("nginx.conf", "upstreams.conf", ["8001"])

    @classmethod
    def tearDownClass(cls):
        cls.proxy.stop()

    def who(self, method, path, headers=None):
        answer, body = self.proxy.ask(method, path, headers=headers)
        self.assertEqual(answer.status, 200, body)
        return json.loads(body)

    def test_events_go_to_the_gateway_and_everything_else_to_the_query_api(self):
        for method, path, service in [
            ("POST", "/api/v1/agents/support-bot/events", "gateway"),
            ("POST", "/api/v1/agents/team%2Fsupport%20bot/events", "gateway"),
            ("POST", "/api/v1/agents/team/support-bot/events?x=1", "gateway"),
            ("POST", "/api/v1/events", "gateway"),
            ("POST", "/api/v1/events?strict=1", "gateway"),
            ("POST", "/api/v1/dead-letters/redrive", "gateway"),
            ("POST", "/api/v1/dead-letters/0-3-12345/redrive?again=true", "gateway"),
            ("GET", "/api/v1/dead-letters?reason=invalid", "query_api"),
            ("GET", "/api/v1/dead-letters/0-3-12345", "query_api"),
            ("POST", "/v1/traces", "gateway"),
            ("GET", "/v1/models", "gateway"),
            ("GET", "/api/v1/events?agent_id=a", "query_api"),
            ("PUT", "/api/v1/events", "query_api"),
            ("GET", "/api/v1/agents", "query_api"),
            ("GET", "/api/v1/agents/a/metrics?days=7", "query_api"),
            ("GET", "/api/v1/agents/a/events/2026-11-23T07:15:03.123456Z/e1", "query_api"),
            ("POST", "/api/v1/agents/a/events/", "query_api"),
            ("POST", "/api/v1/session", "query_api"),
            ("GET", "/api/v1/receipts/0-3-12345", "query_api"),
            ("GET", "/api/v1/openapi.json", "query_api"),
            ("GET", "/health", "query_api"),
            ("GET", "/health/ready", "query_api"),
            ("GET", "/docs", "query_api"),
            ("GET", "/", "query_api"),
            ("GET", "/agents/support-bot", "query_api"),
        ]:
            with self.subTest(f"{method} {path}"):
                reply = self.who(method, path)
                self.assertEqual(reply["service"], service)
                self.assertEqual(reply["path"], path, "the path must arrive as it was sent")

    def test_a_preflight_goes_where_its_request_would_go(self):
        path = "/api/v1/events"
        self.assertEqual(self.who("OPTIONS", path, {"Access-Control-Request-Method": "POST"})["service"], "gateway")
        self.assertEqual(self.who("OPTIONS", path, {"Access-Control-Request-Method": "GET"})["service"], "query_api")

    def test_host_request_id_and_client_address_arrive(self):
        sent = self.who("GET", "/health", {"Host": "tally.example:8001", "X-Request-Id": "abc-1", "X-Forwarded-For": "203.0.113.9"})["headers"]
        self.assertEqual(sent["Host"], "tally.example:8001")
        self.assertEqual(sent["X-Request-Id"], "abc-1")
        self.assertEqual(sent["X-Forwarded-For"], "127.0.0.1")
        made = self.who("GET", "/health", {"X-Request-Id": 'broken "id"'})["headers"]["X-Request-Id"]
        self.assertRegex(made, "^[0-9a-f]{32}$")

    def test_server_sent_events_pass_one_by_one(self):
        with socket.create_connection(("127.0.0.1", self.proxy.ports["8001"]), timeout=10) as line:
            line.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
            seen = b""
            while b"data: first" not in seen:
                part = line.recv(4096)
                self.assertTrue(part, "the stream ended before its first message")
                seen += part
            self.assertNotIn(b"second", seen)
            self.assertNotIn(b"content-encoding", seen.lower())
            self.proxy.services["query_api"].first_was_seen.set()
            while b"data: second" not in seen:
                part = line.recv(4096)
                self.assertTrue(part, "the stream ended before its second message")
                seen += part

    def test_web_socket_is_upgraded(self):
        with socket.create_connection(("127.0.0.1", self.proxy.ports["8001"]), timeout=10) as line:
            line.sendall(
                b"GET /api/v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nhello"
            )
            seen = b""
            while b"HELLO" not in seen:
                part = line.recv(4096)
                self.assertTrue(part, seen)
                seen += part
            self.assertTrue(seen.startswith(b"HTTP/1.1 101"), seen)

    def test_long_answers_are_compressed(self):
        answer, body = self.proxy.ask("GET", "/long", headers={"Accept-Encoding": "gzip"})
        self.assertEqual(answer.getheader("content-encoding"), "gzip")
        self.assertIn("Accept-Encoding", answer.getheader("vary"))
        self.assertEqual(json.loads(gzip.decompress(body))["path"], "/long")

    def test_security_headers_are_there_and_the_upstreams_win(self):
        answer, _ = self.proxy.ask("GET", "/health")
        self.assertEqual(answer.getheader("x-content-type-options"), "nosniff")
        self.assertEqual(answer.getheader("x-frame-options"), "DENY")
        self.assertEqual(answer.getheader("referrer-policy"), "no-referrer")
        self.assertIn("frame-ancestors 'none'", answer.getheader("content-security-policy"))
        self.assertIsNone(answer.getheader("strict-transport-security"))
        self.assertNotIn("/", answer.getheader("server"))
        page, _ = self.proxy.ask("GET", "/page")
        self.assertEqual(page.headers.get_all("content-security-policy"), ["default-src 'self'"])

    def test_eight_mebibytes_pass_and_seventeen_are_refused(self):
        answer, body = self.proxy.ask("POST", "/api/v1/events", body=b"x" * (8 << 20))
        self.assertEqual((answer.status, json.loads(body)["size"]), (200, 8 << 20))
        answer, body = self.proxy.ask("POST", "/api/v1/events", headers={"Content-Length": str(17 << 20)})
        self.assertEqual(answer.status, 413)
        self.assertEqual(answer.getheader("content-type"), "application/problem+json")
        self.assertEqual(json.loads(body)["status"], 413)

    def test_an_upstream_that_is_gone_is_a_503_to_try_again(self):
        proxy = Proxy("nginx.conf", "upstreams.conf", ["8001"])
        try:
            proxy.services["gateway"].shutdown()
            proxy.services["gateway"].server_close()
            answer, body = proxy.ask("POST", "/api/v1/events", body=b"[]")
            self.assertEqual(answer.status, 503, body)
            self.assertEqual(answer.getheader("content-type"), "application/problem+json")
            self.assertEqual(answer.getheader("retry-after"), "1")
            self.assertEqual(answer.getheader("x-content-type-options"), "nosniff")
            self.assertRegex(json.loads(body)["request_id"], "^[0-9a-f]{32}$")
        finally:
            proxy.stop()


class ProductionProxy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.proxy = Proxy("production.conf", "upstreams-production.conf", ["8080", "8443"])

    @classmethod
    def tearDownClass(cls):
        cls.proxy.stop()

    def test_plain_http_is_redirected_with_its_method(self):
        answer, _ = self.proxy.ask("POST", "/api/v1/events?a=b", listen="8080", headers={"Host": "tally.example"})
        self.assertEqual((answer.status, answer.getheader("location")), (308, "https://tally.example/api/v1/events?a=b"))

    def test_tls_routes_alike_and_sends_hsts(self):
        for method, path, service in [("POST", "/api/v1/events", "gateway"), ("GET", "/api/v1/agents", "query_api")]:
            answer, body = self.proxy.ask(method, path, listen="8443")
            reply = json.loads(body)
            self.assertEqual((answer.status, reply["service"]), (200, service))
            self.assertEqual(reply["headers"]["X-Forwarded-Proto"], "https")
            self.assertEqual(answer.getheader("strict-transport-security"), "max-age=63072000")
            self.assertEqual(answer.getheader("x-content-type-options"), "nosniff")

    def test_refusals_carry_hsts_too(self):
        answer, _ = self.proxy.ask("POST", "/api/v1/events", listen="8443", headers={"Content-Length": str(17 << 20)})
        self.assertEqual(answer.status, 413)
        self.assertIsNotNone(answer.getheader("strict-transport-security"))


if __name__ == "__main__":
    unittest.main()
