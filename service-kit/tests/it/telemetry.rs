//! Logs and traces as they leave a process. Telemetry is set up once per process, so a child process is watched: this
//! very binary, with one test of it asked for.

use crate::Server;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};
use serde_json::Value;
use service_kit::http::{HttpConfig, layered, serve};
use service_kit::problem::ApiError;
use std::process::{Command, Stdio};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SECRET: &str = "user-4711";

/// Not a test by itself: what the child process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs in a child process of the other tests"]
async fn child() {
    let telemetry = service_kit::telemetry::init("test-service").expect("set up");
    let router = Router::new()
        .route("/items/{id}", get(|| async { "here" }))
        .route("/broken", get(|| async { Err::<(), _>(ApiError::internal(anyhow::anyhow!("disk on fire").context("cannot read"))) }))
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("{}", SECRET.to_owned())
                }
            }),
        );
    let server = Server::start(router, &HttpConfig::default()).await;
    let client = reqwest::Client::new();
    for path in ["items/7", "broken", "panic", "nothing"] {
        let url = server.url(&format!("/{path}?user={SECRET}"));
        let request = client.get(url).header("x-request-id", format!("id-of-{path}")).header("authorization", format!("Bearer {SECRET}"));
        request.header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01")).send().await.expect("an answer");
    }
    drop(telemetry);
}

/// The child's log, line by line.
async fn log_of_child(variables: &[(&str, &str)]) -> Vec<Value> {
    let mut child = Command::new(std::env::current_exe().expect("a path"));
    child.args(["--exact", "telemetry::child", "--ignored", "--nocapture"]).stdin(Stdio::null()).stdout(Stdio::null());
    child.env_remove("RUST_BACKTRACE").env("RUST_LOG", "info,service_kit=debug").envs(variables.iter().copied());
    let output = tokio::task::spawn_blocking(move || child.output()).await.expect("no panic").expect("started");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{text}");
    assert!(!text.contains(SECRET), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

fn about<'a>(log: &'a [Value], request_id: &str) -> Vec<&'a Value> {
    log.iter().filter(|record| record["span"]["request_id"] == request_id).collect()
}

#[tokio::test]
async fn records_are_json_with_request_ids_and_without_secrets() {
    let log = log_of_child(&[]).await;
    let answered = about(&log, "id-of-items/7");
    assert_eq!(answered.len(), 1, "{log:#?}");
    assert_eq!((&answered[0]["status"], &answered[0]["span"]["route"]), (&Value::from(200), &Value::from("/items/{id}")));
    let broken = about(&log, "id-of-broken");
    let causes: Vec<_> = broken.iter().filter(|record| record.to_string().contains("disk on fire")).collect();
    assert_eq!(causes.len(), 1, "a cause is logged once: {broken:#?}");
    assert_eq!((&causes[0]["level"], &causes[0]["error"]), (&Value::from("ERROR"), &Value::from("cannot read: disk on fire")));
    let panicked = about(&log, "id-of-panic");
    assert!(panicked.iter().any(|record| record["location"].as_str().is_some_and(|at| at.contains("telemetry.rs"))), "{panicked:#?}");
}

#[tokio::test]
async fn traces_go_to_the_collector_and_continue_the_clients() {
    let (bodies, mut received) = mpsc::channel::<Bytes>(64);
    let collector = Router::new()
        .route("/v1/traces", post(|State(bodies): State<mpsc::Sender<Bytes>>, body: Bytes| async move { drop(bodies.send(body).await) }))
        .with_state(bodies);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(listener, layered(collector, "collector", &HttpConfig::default()), shutdown.clone()));
    let _stop = shutdown.drop_guard();
    log_of_child(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]).await;
    let mut sent = Vec::new();
    while let Ok(body) = received.try_recv() {
        sent.extend_from_slice(&body);
    }
    let has = |bytes: &[u8]| sent.windows(bytes.len()).any(|window| window == bytes);
    let trace = u128::from_str_radix(TRACE, 16).expect("hex").to_be_bytes();
    assert!(has(&trace), "the trace goes on");
    assert!(has(b"GET /items/{id}") && has(b"test-service"), "spans and service are named");
    assert!(!has(SECRET.as_bytes()));
}

#[tokio::test]
async fn a_collector_that_is_away_holds_nothing_up() {
    let log = log_of_child(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]).await;
    assert_eq!(about(&log, "id-of-items/7").len(), 1);
}
