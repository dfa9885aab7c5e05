//! Requests that mean no good, or were written by somebody in a hurry. Each row states its answer; none may be a
//! 5xx, hang, or leave anything in the log.

use crate::server::{DEADLINE, Server, read_answer};
use ingest_gateway::GatewayConfig;
use serde_json::{Value, json};
use std::io::Write as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const ONE: &str = "/api/v1/agents/a/events";
const MANY: &str = "/api/v1/events";
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

struct Row {
    name: String,
    expect: u16,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn request(&mut self, name: impl Into<String>, expect: u16, bytes: Vec<u8>) {
        self.0.push(Row { name: name.into(), expect, bytes });
    }

    fn post(&mut self, name: impl Into<String>, expect: u16, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) {
        self.request(name, expect, request("POST", path, headers, body.as_ref()));
    }

    fn one(&mut self, name: &str, expect: u16, body: impl AsRef<[u8]>) {
        self.post(format!("one event: {name}"), expect, ONE, JSON, body);
    }

    fn many(&mut self, name: &str, expect: u16, body: impl AsRef<[u8]>) {
        self.post(format!("batch: {name}"), expect, MANY, JSON, body);
    }

    /// One otherwise good event with these fields.
    fn field(&mut self, name: &str, fields: &str) {
        self.one(name, 422, format!(r#"{{"message_type":"error",{fields}}}"#));
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    bytes.extend(b"\r\n");
    bytes.extend(body);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd_with_window(window_log: u32) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(window_log).unwrap();
    encoder.write_all(b"[]").unwrap();
    encoder.finish().unwrap()
}

const GOOD: &str = r#"{"agent_id":"a","message_type":"error"}"#;

fn broken_json(rows: &mut Rows) {
    for (name, body) in [
        ("nothing", ""),
        ("blanks", " \r\n\t"),
        ("cut off", r#"{"message_type":"err"#),
        ("a comma too many", r#"{"message_type":"error",}"#),
        ("single quotes", "{'message_type':'error'}"),
        ("no quotes", "{message_type:error}"),
        ("a comment", "{\"message_type\":\"error\"/*x*/}"),
        ("NaN", r#"{"message_type":"error","cost_usd":NaN}"#),
        ("Infinity", r#"{"message_type":"error","cost_usd":Infinity}"#),
        ("-Infinity", r#"{"message_type":"error","cost_usd":-Infinity}"#),
        ("a leading zero", r#"{"message_type":"error","token_count":01}"#),
        ("a plus", r#"{"message_type":"error","token_count":+1}"#),
        ("hexadecimal", r#"{"message_type":"error","token_count":0x10}"#),
        ("a bare point", r#"{"message_type":"error","cost_usd":1.}"#),
        ("two documents", r#"{"message_type":"error"}{"message_type":"error"}"#),
        ("a line break in a string", "{\"message_type\":\"error\",\"content\":\"a\nb\"}"),
        ("a NUL byte in a string", "{\"message_type\":\"error\",\"content\":\"a\0b\"}"),
        ("an unknown escape", r#"{"message_type":"error","content":"\x41"}"#),
        ("half a key", r#"{"message_type":"error","\ud800":1}"#),
        ("a form", "message_type=error"),
        ("XML", "<event/>"),
    ] {
        rows.one(name, 400, body);
    }
    rows.one("not UTF-8", 400, b"{\"message_type\":\"error\",\"content\":\"\xff\"}");
    rows.one("overlong UTF-8", 400, b"{\"message_type\":\"error\",\"content\":\"\xc0\xaf\"}");
    let utf16: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_le_bytes).collect();
    rows.one("UTF-16", 400, utf16);
    rows.one("brackets without end", 400, "[".repeat(200_000));
    rows.many("brackets without end", 400, "[".repeat(1_000_000));
    rows.many("braces without end", 400, "{\"a\":".repeat(1_000_000));
    rows.many("cut off", 400, format!("[{GOOD},"));
    rows.many("NaN in one of them", 400, format!(r#"[{GOOD},{{"message_type":"error","cost_usd":NaN}}]"#));
}

fn wrong_shapes(rows: &mut Rows) {
    for body in ["[]", "null", "true", "7", "\"x\"", "{}"] {
        rows.one(body, 422, body);
        rows.many(body, 422, body);
    }
    rows.many("events is null", 422, r#"{"events":null}"#);
    rows.many("events is an object", 422, r#"{"events":{"0":{}}}"#);
    rows.many("events twice", 422, format!(r#"{{"events":[{GOOD}],"events":[{GOOD}]}}"#));
    rows.many("something beside events", 422, format!(r#"{{"events":[{GOOD}],"dry_run":true}}"#));
    rows.many("one event", 422, GOOD);
    rows.many("arrays in the array", 422, format!("[[{GOOD}]]"));
    rows.many("no agent", 422, r#"[{"message_type":"error"}]"#);
    rows.many("1,001 events", 413, format!("[{}]", vec![GOOD; 1_001].join(",")));
    rows.many("three million numbers", 413, format!("[{}0]", "0,".repeat(3_000_000)));
    rows.many("9 MiB", 413, format!("[{GOOD}{}]", " ".repeat(9 << 20)));
    rows.many("an event of 300 KiB", 422, format!(r#"[{{"agent_id":"a","message_type":"error","content":"{}"}}]"#, "x".repeat(300 << 10)));
    let lines = [("content-type", "application/x-ndjson")];
    rows.post("lines: 1,001 events", 413, MANY, &lines, format!("{GOOD}\n").repeat(1_001));
    rows.post("lines: one is broken", 422, MANY, &lines, format!("{GOOD}\n{{\n{GOOD}"));
    rows.post("lines: an array", 422, MANY, &lines, format!("[{GOOD}]"));
    rows.post("lines: none", 422, MANY, &lines, "\n\n\n");
    rows.post("lines: half a character", 422, MANY, &lines, r#"{"agent_id":"a","message_type":"error","\ud800":1}"#);
}

fn wrong_fields(rows: &mut Rows) {
    rows.one("no type", 422, r#"{"content":"x"}"#);
    for (name, value) in
        [("unknown", "\"chat\""), ("capital", "\"ERROR\""), ("empty", "\"\""), ("null", "null"), ("object", "{}"), ("blank", "\" error\"")]
    {
        rows.one(&format!("type is {name}"), 422, format!(r#"{{"message_type":{value}}}"#));
    }
    for (name, fields) in [
        ("a field twice", r#""content":"a","content":"b""#),
        ("a field twice, once escaped", r#""content":"a","\u0063ontent":"b""#),
        ("half a character", r#""content":"\ud800""#),
        ("the other half", r#""metadata":{"a":["\udfff"]}"#),
        ("NUL in an id", r#""user_id":"a\u0000b""#),
        ("a line break in a name", r#""model_used":"gpt\n4""#),
        ("an escape sequence in a name", r#""tool_name":"\u001b[2J""#),
        ("a number as text", r#""content":7"#),
        ("a text as number", r#""response_time_ms":"7""#),
        ("a boolean as number", r#""token_count":true"#),
        ("a fraction of a token", r#""token_count":1.5"#),
        ("fewer than no tokens", r#""input_tokens":-1"#),
        ("tokens beyond all bounds", r#""output_tokens":18446744073709551616"#),
        ("time beyond all bounds", r#""response_time_ms":1e300"#),
        ("a number beyond a double", r#""response_time_ms":1e999"#),
        ("the same in metadata", r#""metadata":{"a":-1e999}"#),
        ("39 digits", r#""metadata":{"a":123456789012345678901234567890123456789}"#),
        ("feedback of 0", r#""user_feedback":0"#),
        ("feedback of 6", r#""user_feedback":6"#),
        ("a negative cost", r#""cost_usd":-0.01"#),
        ("metadata as text", r#""metadata":"{}""#),
        ("metadata as array", r#""metadata":[]"#),
        ("an event id with a slash", r#""event_id":"a/b""#),
        ("an event id with a number sign", "\"event_id\":\"a#b\""),
        ("an event id that is a number", r#""event_id":7"#),
        ("an event id without a time", r#""event_id":"x""#),
        ("a UUIDv7 of the year 10889", r#""event_id":"ffffffff-ffff-7fff-bfff-ffffffffffff""#),
        ("a UUIDv7 of 1970", r#""event_id":"00000000-0000-7000-8000-000000000000""#),
    ] {
        rows.field(name, fields);
    }
    for time in [
        "",
        "now",
        "yesterday",
        "2026-01-07",
        "10:30",
        "2026-02-30T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-07T24:30:00Z",
        "2026-01-07T10:61:00Z",
        "2026-01-07T10:30:00+99:00",
        "2026-01-07T10:30:00.Z",
        "2026-01-07T10:30:00.1x3Z",
        "1999-12-31T23:59:59Z",
        "9999-12-31T23:59:59Z",
        "0000-00-00T00:00:00Z",
        "-2026-01-07T10:30:00Z",
        "+002026-01-07T10:30:00Z",
        "2026-01-07T10:30:00Z[Europe/Berlin]",
        "2026-W02-3T10:30:00Z",
        "２０２６-01-07T10:30:00Z",
        "1767781800",
        "2026-01-07T10:30:00Z'; DROP TABLE events; --",
    ] {
        rows.field(&format!("time {time:?}"), &format!(r#""timestamp":"{time}""#));
    }
    rows.field("a time that is a number", r#""timestamp":1767781800"#);
    rows.field("a time that is very long", &format!(r#""timestamp":"2026-01-07T10:30:00.{}Z""#, "1".repeat(100_000)));
    rows.field("33 levels", &format!(r#""metadata":{{"a":{}{}}}"#, "[".repeat(31), "]".repeat(31)));
    rows.field("100,000 levels", &format!(r#""content":{}{}"#, "[".repeat(100_000), "]".repeat(100_000)));
    rows.field("100,000 digits", &format!(r#""token_count":{}"#, "9".repeat(100_000)));
    rows.field("an id of 257 characters", &format!(r#""user_id":"{}""#, "x".repeat(257)));
    rows.field("a model of 129 characters", &format!(r#""model_used":"{}""#, "x".repeat(129)));
    rows.field("an event id of 65 characters", &format!(r#""event_id":"{}""#, "x".repeat(65)));
    rows.one("a field of 300 KiB", 413, format!(r#"{{"message_type":"error","content":"{}"}}"#, "x".repeat(300 << 10)));
    rows.one("12 MiB", 413, format!(r#"{{"message_type":"error","content":"{}"}}"#, "x".repeat(12 << 20)));
    let many: String = (0..20_000).map(|i| format!(r#","x{i}":1"#)).collect();
    let strict = [("content-type", "application/json"), ("prefer", "handling=strict")];
    rows.post("20,000 unknown fields, strictly", 422, ONE, &strict, format!(r#"{{"message_type":"error"{many}}}"#));
}

fn wrong_headers(rows: &mut Rows) {
    for media in [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/xml",
        "application/json; charset=utf-16",
        "application/octet-stream",
        "json",
        "application/x-ndjson",
        "\u{e9}",
    ] {
        rows.post(format!("content type {media}"), 415, ONE, &[("content-type", media)], r#"{"message_type":"error"}"#);
    }
    for encoding in ["br", "deflate", "gzip, gzip", "compress", "x", "aws-chunked"] {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        rows.post(format!("encoding {encoding}"), 415, ONE, &headers, r#"{"message_type":"error"}"#);
    }
    let dated = r#"{"message_type":"error","timestamp":"2026-01-07T10:30:00Z"}"#;
    for key in ["a b", "a/b", "\"", "\u{e9}", &"k".repeat(65), ""] {
        rows.post(format!("key {key:?}"), 422, ONE, &[("content-type", "application/json"), ("idempotency-key", key)], dated);
    }
    let keys = [("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "b")];
    rows.post("two keys", 422, ONE, &keys, dated);
    let long = "k".repeat(59);
    rows.post(
        "a key too long for a batch",
        422,
        MANY,
        &[("content-type", "application/json"), ("idempotency-key", &long)],
        format!("[{GOOD}]"),
    );
    rows.post("a foreign page", 403, ONE, &[("content-type", "application/json"), ("origin", "https://evil.example")], dated);
    rows.request("a foreign host", 403, request("POST", ONE, JSON, dated.as_bytes()).replace("host: localhost", "host: evil.example"));
    for method in ["GET", "PUT", "PATCH", "DELETE", "BREW"] {
        rows.request(format!("method {method}"), 405, request(method, ONE, JSON, dated.as_bytes()));
    }
}

fn packed(rows: &mut Rows) {
    let with = |encoding: &'static str| [("content-type", "application/json"), ("content-encoding", encoding)];
    let zeros = vec![b' '; 100 << 20];
    rows.post("a gzip bomb", 413, MANY, &with("gzip"), gzip(&zeros));
    rows.post("a zstd bomb", 413, MANY, &with("zstd"), zstd::encode_all(zeros.as_slice(), 3).unwrap());
    rows.post("a bomb of one event", 413, ONE, &with("gzip"), gzip(&zeros[..1 << 20]));
    rows.post("a bomb in a bomb", 400, MANY, &with("gzip"), gzip(&gzip(&zeros)));
    rows.post("plain text called gzip", 400, MANY, &with("gzip"), format!("[{GOOD}]"));
    rows.post("plain text called zstd", 400, MANY, &with("zstd"), format!("[{GOOD}]"));
    rows.post("zstd called gzip", 400, MANY, &with("gzip"), zstd::encode_all(GOOD.as_bytes(), 3).unwrap());
    let cut = gzip(format!("[{GOOD}]").as_bytes());
    rows.post("gzip cut off", 400, MANY, &with("gzip"), &cut[..cut.len() - 4]);
    rows.post("gzip with a wrong checksum", 400, MANY, &with("gzip"), [&cut[..cut.len() - 8], &[0; 8]].concat());
    rows.post("gzip with something behind", 400, MANY, &with("gzip"), [&cut, GOOD.as_bytes()].concat());
    rows.post("gzip of nothing", 400, MANY, &with("gzip"), gzip(b""));
    rows.post("a zstd frame with a window of 128 MiB", 400, MANY, &with("zstd"), zstd_with_window(27));
    rows.post("no bytes called gzip", 400, MANY, &with("gzip"), "");
}

fn paths(rows: &mut Rows) {
    let body = r#"{"message_type":"error"}"#;
    for agent in [
        "",
        "..",
        ".",
        "%2e%2e",
        "%2E%2E%2Fb",
        "a%00b",
        "a%0d%0aX:y",
        "a%23b",
        "a~1",
        "*",
        "%2A",
        "a%252Fb",
        "a%20b",
        "%E2%80%AE",
        "_a",
        "-a",
        "%2Fetc%2Fpasswd",
        "a;b",
        "a'b",
        "a%22b",
        "%ff",
        "%c0%ae",
        &"a".repeat(129),
        &"%41".repeat(129),
    ] {
        rows.post(format!("agent {agent}"), 422, &format!("/api/v1/agents/{agent}/events"), JSON, body);
    }
    for path in [
        "/api/v1/agents/a/b/events",
        "/api/v1/agents/a/events/",
        "/api/v1/agents/a/../b/events",
        "//api/v1/events",
        "/api/v1/events/",
        "/api/v2/events",
        "/api/v1/agents/a/Events",
        "/",
        "/%2e%2e/%2e%2e/etc/passwd",
    ] {
        rows.post(format!("path {path}"), 404, path, JSON, body);
    }
}

trait Replace {
    fn replace(self, from: &str, to: &str) -> Self;
}

impl Replace for Vec<u8> {
    fn replace(self, from: &str, to: &str) -> Self {
        String::from_utf8(self).unwrap().replace(from, to).into_bytes()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_get_the_answer_that_is_stated_and_leave_nothing() {
    let server = Server::start().await;
    let mut rows = Rows::default();
    broken_json(&mut rows);
    wrong_shapes(&mut rows);
    wrong_fields(&mut rows);
    wrong_headers(&mut rows);
    packed(&mut rows);
    paths(&mut rows);
    assert!(rows.0.len() >= 60, "{}", rows.0.len());

    let mut wrong = Vec::new();
    for row in rows.0 {
        let (status, body) = server.raw(&row.bytes).await;
        let problem: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{}: {status} {e}: {body}", row.name));
        let is_problem = problem["status"] == json!(status)
            && problem["detail"].as_str().is_some_and(|d| !d.is_empty())
            && problem["request_id"].is_string();
        if status != row.expect || !is_problem || status >= 500 || body.len() > 200_000 {
            wrong.push(format!("{}: expected {}, got {status}: {}", row.name, row.expect, &body[..body.len().min(300)]));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(server.records().await.is_empty(), "nothing of it was published");
    assert_eq!(server.post_event(r#"{"message_type":"error"}"#).await.0, 202, "and the gateway is well");
}

#[tokio::test]
async fn slow_bodies_are_answered_and_let_go() {
    let server = Server::start_with(GatewayConfig { body_timeout_ms: 200, ..GatewayConfig::default() }, |log| log).await;
    let head = format!("POST {ONE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    for (name, rest) in [
        ("announced and never sent", "content-length: 100\r\n\r\n"),
        ("sent in part", "content-length: 100\r\n\r\n{\"message_type\":"),
        ("chunks without an end", "transfer-encoding: chunked\r\n\r\n5\r\n{\"mes\r\n"),
    ] {
        let (status, body) = server.raw(format!("{head}{rest}").as_bytes()).await;
        assert_eq!(status, 408, "{name}: {body}");
    }
    assert!(server.records().await.is_empty());
}

#[tokio::test]
async fn bodies_that_break_off_are_no_events() {
    let server = Server::start().await;
    let head = format!("POST {ONE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n");
    for (name, rest) in [
        ("shorter than announced", "content-length: 100\r\n\r\n{\"message_type\":\"error\"}"),
        ("a chunk that is no chunk", "transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"),
        ("a length that is no length", "content-length: -1\r\n\r\n{}"),
        ("two lengths", "content-length: 24\r\ncontent-length: 2\r\n\r\n{\"message_type\":\"error\"}"),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let (status, body) = read_answer(&mut stream).await;
        assert_eq!(status, 400, "{name}: {body}");
    }
    assert!(server.records().await.is_empty());
}

#[tokio::test]
async fn a_body_that_is_refused_at_once_is_not_asked_for() {
    let server = Server::start().await;
    let head = format!(
        "POST {ONE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n"
    );
    let (status, _) = server.raw(head.as_bytes()).await;
    assert_eq!(status, 413, "and no 100 before it");
}

#[tokio::test]
async fn many_idle_clients_do_not_keep_a_busy_one_out() {
    let server = Server::start().await;
    let head = format!("POST {MANY} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 8000000\r\n\r\n[");
    let mut idle = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        idle.push(stream);
    }
    let request = server.post_event(r#"{"message_type":"error"}"#);
    assert_eq!(tokio::time::timeout(DEADLINE, request).await.expect("answered").0, 202);
}
