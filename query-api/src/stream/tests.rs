//! Streams, receipts and the pipeline's state over real HTTP, on a store of dynoxide's and a log in memory.

use crate::memory_log::MemoryLog;
use crate::{QueryApi, QueryConfig, QueryParts};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType};
use engines::dynoxide::Dynoxide;
use futures::{SinkExt as _, StreamExt as _};
use reqwest::{RequestBuilder, Response, StatusCode};
use schemas::item::{AGENT_ID, DATE, ID, KIND, MetricKey, Period, Subject, TIMESTAMP, TableNames};
use schemas::time::{DAY_US, day_of, format_day, now_micros};
use schemas::{AgentEvent, AgentTotals, MessageType};
use serde_json::{Value, json};
use service_kit::admin::Readiness;
use service_kit::auth::{Authenticator, Scope};
use service_kit::http::HttpConfig;
use service_kit::keys::{self, NewKey};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use tokio_util::sync::CancellationToken;

/// Nothing here takes so long unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

struct Server {
    address: SocketAddr,
    log: Arc<MemoryLog>,
    store: Client,
    tables: TableNames,
    api: QueryApi,
    auth: Authenticator,
    shutdown: CancellationToken,
    _engine: Dynoxide,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

async fn table(store: &Client, name: &str, keys: [&str; 2]) {
    let mut request = store.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest);
    for (key, kind) in keys.into_iter().zip([KeyType::Hash, KeyType::Range]) {
        let attribute = AttributeDefinition::builder().attribute_name(key).attribute_type(ScalarAttributeType::S);
        let element = KeySchemaElement::builder().attribute_name(key).key_type(kind);
        request = request.attribute_definitions(attribute.build().expect("complete")).key_schema(element.build().expect("complete"));
    }
    request.send().await.expect("a table");
}

impl Server {
    async fn start() -> Self {
        Self::start_with(QueryConfig::default(), false).await
    }

    async fn start_with(config: QueryConfig, needs_keys: bool) -> Self {
        let engine = Dynoxide::start().expect("an engine");
        let (store, tables) = (engine.client(), TableNames::default());
        table(&store, &tables.events, [AGENT_ID, TIMESTAMP]).await;
        table(&store, &tables.metrics, [AGENT_ID, DATE]).await;
        table(&store, &tables.control, [KIND, ID]).await;
        let shutdown = CancellationToken::new();
        let auth = match needs_keys {
            true => Authenticator::start(store.clone(), tables.clone(), shutdown.clone()).await.expect("keys"),
            false => Authenticator::open(),
        };
        let log = MemoryLog::new();
        let parts = QueryParts {
            log: Arc::clone(&log) as _,
            store: store.clone(),
            tables: tables.clone(),
            auth: auth.clone(),
            readiness: Readiness::new(),
            shutdown: shutdown.clone(),
        };
        let api = QueryApi::start(config, parts).await.expect("the api");
        let router = service_kit::http::layered(api.router(), "query-api", &HttpConfig::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(service_kit::http::serve(listener, router, shutdown.clone()));
        let server = Self { address, log, store, tables, api, auth, shutdown, _engine: engine };
        let mut freshness = server.api.state.live.watch_freshness();
        in_time(freshness.wait_for(|f| f.is_caught_up)).await.expect("a table");
        server
    }

    fn get(&self, path: &str) -> RequestBuilder {
        reqwest::Client::new().get(format!("http://{}{path}", self.address))
    }

    async fn follow(&self, query: &str) -> Stream {
        Stream::of(in_time(self.get(&format!("/api/v1/stream?{query}")).send()).await.expect("an answer")).await
    }

    async fn follow_from(&self, query: &str, id: &str) -> Stream {
        let request = self.get(&format!("/api/v1/stream?{query}")).header("last-event-id", id);
        Stream::of(in_time(request.send()).await.expect("an answer")).await
    }

    async fn json(&self, path: &str) -> Value {
        in_time(self.get(path).send()).await.expect("an answer").json().await.expect("json")
    }

    fn push(&self, agent: &str, content: &str) -> u64 {
        let mut event = AgentEvent::new(agent, now_micros(), "e", MessageType::UserMessage);
        event.content = Some(content.into());
        self.log.push_event(0, &event)
    }

    fn announce(&self, agent: &str, version: i64) {
        self.log.push_totals(&totals(agent, version));
    }
}

fn totals(agent: &str, version: i64) -> AgentTotals {
    let now = now_micros();
    AgentTotals {
        agent_id: agent.into(),
        day: day_of(now),
        version,
        calls: version,
        last_at: now,
        flushed_at: now,
        ..AgentTotals::default()
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("within the deadline")
}

#[derive(Debug, Default)]
struct Told {
    kind: String,
    id: String,
    data: Value,
}

/// A client of a stream.
struct Stream {
    response: Response,
    text: String,
    told: VecDeque<Told>,
}

impl Stream {
    async fn of(response: Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        Self { response, text: String::new(), told: VecDeque::new() }
    }

    /// The next message; `None` at the end of the stream.
    async fn any(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Some(told);
            }
            let chunk = in_time(self.response.chunk()).await.ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let mut told = Told::default();
                for line in block.lines() {
                    let (name, value) = line.split_once(':').expect("a field");
                    let value = value.trim_start();
                    match name {
                        "event" => told.kind = value.into(),
                        "id" => told.id = value.into(),
                        "data" => told.data = serde_json::from_str(value).expect("json"),
                        "retry" => {}
                        other => panic!("{other}"),
                    }
                }
                self.told.push_back(told);
                self.text = rest.to_owned();
            }
        }
    }

    /// The next message that is no heartbeat.
    async fn news(&mut self) -> Told {
        loop {
            let told = self.any().await.expect("the stream goes on");
            if told.kind != "heartbeat" {
                return told;
            }
        }
    }

    async fn heartbeat(&mut self) -> Told {
        let told = self.any().await.expect("a message");
        assert_eq!(told.kind, "heartbeat");
        told
    }
}

#[tokio::test]
async fn a_stream_begins_with_a_heartbeat_and_is_not_held_up_on_its_way() {
    let server = Server::start().await;
    let response = server.get("/api/v1/stream").header("accept-encoding", "gzip, br").send().await.expect("an answer");
    let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!(
        (header("cache-control"), header("x-accel-buffering"), header("content-encoding")),
        ("no-store".into(), "no".into(), String::new())
    );
    let first = Stream::of(response).await.heartbeat().await;
    assert_eq!((&first.data["is_caught_up"], &first.data["events"]), (&json!(true), &json!("off")));
    assert!(!first.id.is_empty());
}

#[tokio::test]
async fn changed_totals_come_with_the_fleet_s() {
    let server = Server::start().await;
    let mut stream = server.follow("").await;
    stream.heartbeat().await;
    server.announce("a", 3);
    let told = stream.news().await;
    assert_eq!(told.kind, "totals");
    assert_eq!(told.data["agents"][0]["agent_id"], "a");
    assert_eq!(told.data["agents"][0]["calls"], 3);
    assert_eq!(told.data["agents"][0]["date"], format_day(day_of(now_micros())));
    assert_eq!((&told.data["fleet"][0]["agent_id"], &told.data["fleet"][0]["calls"]), (&json!("*"), &json!(3)));
    server.announce("b", 2);
    let told = stream.news().await;
    assert_eq!((&told.data["agents"][0]["agent_id"], &told.data["fleet"][0]["calls"]), (&json!("b"), &json!(5)));
}

#[tokio::test]
async fn only_the_agents_asked_for_are_told_of() {
    let server = Server::start().await;
    let mut stream = server.follow("agents=b,c&events=true&message_type=user_message,error").await;
    stream.heartbeat().await;
    server.push("a", "not asked for");
    server.push("b", "asked for");
    server.announce("a", 1);
    server.announce("b", 1);
    let mut told = [stream.news().await, stream.news().await];
    told.sort_by(|a, b| a.kind.cmp(&b.kind));
    assert_eq!(
        (told[0].kind.as_str(), &told[0].data["content"], &told[0].data["receipt"]),
        ("event", &json!("asked for"), &json!("0-0-1"))
    );
    assert_eq!((&told[1].data["agents"].as_array().map(Vec::len), &told[1].data["fleet"]), (&Some(1), &Value::Null));
}

#[tokio::test]
async fn a_stream_is_resumed_where_it_was() {
    let server = Server::start().await;
    let mut stream = server.follow("events=true").await;
    stream.heartbeat().await;
    server.push("a", "0");
    let last = stream.news().await;
    assert_eq!(last.data["content"], "0");
    drop(stream);
    for i in 1..=20 {
        server.push("a", &i.to_string());
    }
    server.announce("a", 7);
    let mut changed = server.api.state.live.watch_notices();
    let mut stream = server.follow_from("events=true", &last.id).await;
    let mut contents = Vec::new();
    while contents.len() < 20 {
        let told = stream.news().await;
        match told.kind.as_str() {
            "event" => contents.push(told.data["content"].as_str().expect("text").to_owned()),
            "totals" => assert_eq!(told.data["agents"][0]["calls"], 7),
            _ => panic!("{told:?}"),
        }
    }
    assert_eq!(contents, (1..=20).map(|i| i.to_string()).collect::<Vec<_>>());
    server.push("a", "21");
    let told = loop {
        let told = stream.news().await;
        if told.kind == "event" {
            break told;
        }
    };
    assert_eq!(told.data["content"], "21");
    changed.mark_unchanged();
    server.announce("a", 8);
    in_time(changed.changed()).await.expect("a notice");
    // Over the other transport, from the same id.
    let mut socket = server.socket(&format!("events=true&last_event_id={}", told.id), &[]).await.expect("a socket");
    let resumed = server.said(&mut socket, "totals").await;
    assert_eq!(resumed["data"]["agents"][0]["calls"], 8);
}

#[tokio::test]
async fn a_stream_that_cannot_be_resumed_says_so() {
    let server = Server::start().await;
    for id in ["junk", "1-1-0-0.0"] {
        let mut stream = server.follow_from("events=true", id).await;
        let told = stream.news().await;
        assert_eq!(
            (told.kind.as_str(), &told.data["reason"], &told.data["of"]),
            ("missed", &json!("unknown_id"), &json!("totals")),
            "{id}"
        );
        assert_eq!(told.data["count"], Value::Null);
        if id == "junk" {
            assert_eq!(stream.news().await.data["of"], "events");
        }
    }
    let place = server.follow("").await.heartbeat().await.id;
    let generation = place.split('-').next().expect("a generation").to_owned();
    let mut stream = server.follow_from("events=true", &format!("{generation}-0-5-0.0")).await;
    assert_eq!(stream.news().await.data["of"], "events", "another epoch's offsets");
}

#[tokio::test]
async fn a_slow_follower_is_told_exactly_how_many_events_it_missed() {
    let server = Server::start().await;
    let mut stream = server.follow("events=true&totals=false").await;
    stream.heartbeat().await;
    let count = 20_000;
    let content = "x".repeat(3_000);
    for chunk in 0..count / 100 {
        for _ in 0..100 {
            server.push("a", &content);
        }
        // Let the reader take each part, as it would from a log that is written to by others.
        while server.api.state.tail.next_offsets_of_reader()[0] < (chunk + 1) * 100 {
            tokio::task::yield_now().await;
        }
    }
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < count {
        let told = stream.news().await;
        match told.kind.as_str() {
            "event" => seen += 1,
            "missed" => {
                assert_eq!((&told.data["is_exact"], &told.data["reason"]), (&json!(true), &json!("slow")));
                missed += told.data["count"].as_u64().expect("a count");
            }
            _ => panic!("{told:?}"),
        }
    }
    assert!(missed > 0 && seen > 0 && seen + missed == count, "{seen} {missed}");
}

#[tokio::test]
async fn streams_are_bounded_in_number() {
    let server = Server::start_with(QueryConfig { streams: 1, ..QueryConfig::default() }, false).await;
    let mut first = server.follow("").await;
    first.heartbeat().await;
    let refused = server.get("/api/v1/stream").send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(server.json("/api/v1/pipeline").await["streams"], 1);
    drop(first);
    in_time(async {
        while server.get("/api/v1/stream").send().await.expect("an answer").status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn wrong_parameters_are_named() {
    let server = Server::start().await;
    for (query, field) in [
        ("message_type=nonsense", "message_type"),
        ("min_response_time_ms=-1", "min_response_time_ms"),
        ("agents=%23", "agents"),
        ("events=perhaps", "events"),
        ("totals=2", "totals"),
    ] {
        let answer = server.get(&format!("/api/v1/stream?{query}")).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{query}");
        let problem: Value = answer.json().await.expect("json");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let answer = server.get("/api/v1/ws").send().await.expect("an answer");
    assert!(answer.status().is_client_error());
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

impl Server {
    async fn socket(&self, query: &str, headers: &[(&'static str, &str)]) -> Result<Socket, StatusCode> {
        let mut request = format!("ws://{}/api/v1/ws?{query}", self.address).into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        match in_time(tokio_tungstenite::connect_async(request)).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => Err(StatusCode::from_u16(response.status().as_u16()).expect("a status")),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message of that type.
    async fn said(&self, socket: &mut Socket, kind: &str) -> Value {
        loop {
            if let Frame::Text(text) = in_time(socket.next()).await.expect("open").expect("a frame") {
                let message: Value = serde_json::from_str(&text).expect("json");
                if message["type"] == kind {
                    return message;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_websocket_carries_the_same_messages() {
    let server = Server::start().await;
    let own = format!("http://{}", server.address);
    let mut socket = server.socket("events=true", &[("origin", &own)]).await.expect("a socket");
    let first = server.said(&mut socket, "heartbeat").await;
    assert_eq!((&first["data"]["events"], first["id"].is_string()), (&json!("live"), true));
    socket.send(Frame::text("what a client says is not read")).await.expect("sent");
    server.push("a", "hello");
    assert_eq!(server.said(&mut socket, "event").await["data"]["content"], "hello");
    server.announce("a", 1);
    assert_eq!(server.said(&mut socket, "totals").await["data"]["agents"][0]["agent_id"], "a");
    server.shutdown.cancel();
    let goodbye = loop {
        match in_time(socket.next()).await {
            Some(Ok(Frame::Close(frame))) => break frame.map(|f| u16::from(f.code)),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(goodbye, Some(1001));
}

#[tokio::test]
async fn a_client_that_says_goodbye_is_answered() {
    let server = Server::start().await;
    let mut socket = server.socket("", &[]).await.expect("a socket");
    server.said(&mut socket, "heartbeat").await;
    let bye = tungstenite::protocol::CloseFrame { code: tungstenite::protocol::frame::coding::CloseCode::Normal, reason: "".into() };
    socket.send(Frame::Close(Some(bye))).await.expect("sent");
    let answer = loop {
        match in_time(socket.next()).await {
            Some(Ok(Frame::Close(frame))) => break frame.map(|f| u16::from(f.code)),
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(answer, Some(1000));
}

#[tokio::test]
async fn pages_of_other_origins_get_no_socket() {
    let server = Server::start().await;
    for origin in ["http://evil.example", "null", "http://localhost:1"] {
        assert_eq!(server.socket("", &[("origin", origin)]).await.err(), Some(StatusCode::FORBIDDEN), "{origin}");
    }
}

#[tokio::test]
async fn shutting_down_ends_streams_at_once() {
    let server = Server::start().await;
    let mut stream = server.follow("events=true").await;
    stream.heartbeat().await;
    server.shutdown.cancel();
    assert!(stream.any().await.is_none());
}

#[tokio::test]
async fn a_revoked_key_ends_its_stream_and_opens_none() {
    let server = Server::start_with(QueryConfig::default(), true).await;
    assert_eq!(server.get("/api/v1/stream").send().await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    let new = |scopes| NewKey { name: "t".into(), scopes, expires_at: None, events_per_second: None, bytes_per_second: None };
    let (ingest, _) = keys::create(&server.store, &server.tables, new(vec![Scope::Ingest])).await.expect("a key");
    let (read, record) = keys::create(&server.store, &server.tables, new(vec![Scope::Read])).await.expect("a key");
    server.auth.refresh().await.expect("keys");
    let ask = |key: &str| server.get("/api/v1/stream").bearer_auth(key).send();
    assert_eq!(ask(ingest.reveal()).await.expect("an answer").status(), StatusCode::FORBIDDEN);
    let mut stream = Stream::of(ask(read.reveal()).await.expect("an answer")).await;
    stream.heartbeat().await;
    keys::revoke(&server.store, &server.tables, &record.id).await.expect("revoked");
    assert!(stream.any().await.is_none(), "the stream goes on");
    assert_eq!(ask(read.reveal()).await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_row_that_the_store_has_newer_is_mended_in_the_background() {
    let server = Server::start().await;
    let today = day_of(now_micros());
    server.announce("a", 2);
    let live = &server.api.state.live;
    let key = MetricKey { subject: Subject::Agent("a".into()), period: Period::Day(today) };
    let mut item = key.key();
    for (name, value) in [("version", 5), ("calls", 50), ("last_at", i64::from(today) * DAY_US)] {
        item.insert(name.into(), AttributeValue::N(value.to_string()));
    }
    server.store.put_item().table_name(&server.tables.metrics).set_item(Some(item)).send().await.expect("put");
    in_time(async {
        while live.get("a", today).is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    in_time(crate::live_table::compare_round(live, &server.api.state.store)).await;
    assert_eq!(live.get("a", today).map(|t| (t.version, t.calls)), Some((5, 50)));
    assert_eq!(live.fleet(today).calls, 50);
}

#[tokio::test]
async fn receipts_and_the_pipeline_tell_the_same() {
    let server = Server::start().await;
    let offset = server.push("a", "x");
    let path = format!("/api/v1/receipts/0-0-{offset}");
    let answer = server.json(&path).await;
    assert_eq!((&answer["logged"], &answer["counted"]), (&json!(true), &json!(false)));
    let pipeline = server.json("/api/v1/pipeline").await;
    assert_eq!((&pipeline["lag_records"], &pipeline["partitions"][0]["end"]), (&json!(1), &json!(1)));
    assert!(pipeline["lag_ms"].as_i64() >= Some(50));
    let waited_path = format!("{path}?wait_ms=30000");
    let waiting = server.json(&waited_path);
    let counting = async {
        server.api.state.progress.looked(2).await;
        server.log.commit(0, 1);
    };
    let (answer, ()) = tokio::join!(waiting, counting);
    assert_eq!((&answer["counted"], &answer["lag_ms"]), (&json!(true), &json!(0)));
    server.log.push_dead("0-1-4", "too_old");
    in_time(async { while server.json("/api/v1/pipeline").await["dead_letters"]["total"] != 1 {} }).await;
    for (path, status) in [
        ("/api/v1/receipts/junk", StatusCode::UNPROCESSABLE_ENTITY),
        ("/api/v1/receipts/0-0-0?wait_ms=30001", StatusCode::UNPROCESSABLE_ENTITY),
        ("/api/v1/receipts/0-0-9", StatusCode::NOT_FOUND),
        ("/api/v1/receipts/1-0-0", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(server.get(path).send().await.expect("an answer").status(), status, "{path}");
    }
    server.log.set_down(true);
    let answer = server.get(&path).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
}
