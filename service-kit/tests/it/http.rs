//! What every answer has, whatever the routes do.

use crate::Server;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::header::{HeaderValue, ORIGIN};
use reqwest::{Client, Method, Response};
use schemas::problem::FieldError;
use serde_json::Value;
use service_kit::http::{HttpConfig, read_body, request_id};
use service_kit::problem::ApiError;
use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

static PROMETHEUS: LazyLock<metrics_exporter_prometheus::PrometheusHandle> =
    LazyLock::new(|| service_kit::telemetry::record_metrics().expect("the first recorder"));

fn routes() -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/items/{id}", get(|Path(id): Path<String>| async move { id }))
        .route("/typed", get(|Query(query): Query<HashMap<String, u32>>| async move { format!("{}", query.len()) }))
        .route("/id", get(|request: Request| async move { request_id(request.extensions()).unwrap_or_default().to_owned() }))
        .route("/trace", get(|headers: HeaderMap| async move { service_kit::telemetry::traceparent(&headers).unwrap_or_default() }))
        .route("/unchanged", get(|| async { axum::http::StatusCode::NOT_MODIFIED }))
        .route("/page", get(|| async { axum::response::Html("<p>hello</p>") }))
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("secret content")
                }
            }),
        )
        .route("/internal", get(|| async { Err::<(), _>(ApiError::internal(anyhow::anyhow!("secret cause"))) }))
        .route("/down", get(|| async { Err::<(), _>(ApiError::unavailable("the log is away", 7)) }))
        .route("/invalid", get(|| async { Err::<(), _>(ApiError::unprocessable("wrong", vec![field()])) }))
        .route("/refuse", post(|| async { Err::<(), _>(ApiError::unauthorized("a key is needed")) }))
        .route("/read", post(|body: Body| async { read_body(body, 1_000, Duration::from_millis(200)).await.map(|b| b.len().to_string()) }))
}

fn field() -> FieldError {
    FieldError { index: 3, field: "timestamp".into(), detail: "is no time".into() }
}

fn config() -> HttpConfig {
    HttpConfig { allowed_hosts: vec!["tally.example.com".into()], cors_origins: vec!["https://pages.example.com".into()] }
}

async fn server() -> Server {
    LazyLock::force(&PROMETHEUS);
    Server::start(routes(), &config()).await
}

/// Checks what all problems have in common and gives the body.
async fn problem(response: Response, status: u16) -> Value {
    assert_eq!(response.status(), status);
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["cache-control"], "no-store");
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(body["type"], "about:blank");
    assert_eq!(body["status"], status);
    assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    assert_eq!(body["request_id"], headers["x-request-id"].to_str().expect("text"));
    assert_eq!(headers["x-content-type-options"], "nosniff");
    body
}

async fn get_path(server: &Server, path: &str) -> Response {
    Client::new().get(server.url(path)).send().await.expect("an answer")
}

#[tokio::test]
async fn every_answer_has_an_id_and_the_clients_own_is_kept() {
    let server = server().await;
    let plain = get_path(&server, "/id").await;
    let id = plain.headers()["x-request-id"].clone();
    assert_eq!(plain.text().await.expect("text"), id.to_str().expect("text"));
    let ask = |id: HeaderValue| Client::new().get(server.url("/id")).header("x-request-id", id).send();
    let own = ask(HeaderValue::from_static("from-nginx.1")).await.expect("an answer");
    assert_eq!(own.headers()["x-request-id"], "from-nginx.1");
    let too_long = "a".repeat(129);
    for insane in ["", "a b", &too_long, "\u{e9}"] {
        let answer = ask(HeaderValue::from_bytes(insane.as_bytes()).expect("a header")).await.expect("an answer");
        let given = answer.headers()["x-request-id"].to_str().expect("text");
        assert_eq!(given.len(), 36, "{given}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let server = server().await;
    problem(get_path(&server, "/nothing").await, 404).await;
    let wrong_method = Client::new().delete(server.url("/hello")).send().await.expect("an answer");
    assert_eq!(wrong_method.headers()["allow"], "GET,HEAD");
    problem(wrong_method, 405).await;
    let untyped = problem(get_path(&server, "/typed?a=b").await, 400).await;
    assert!(untyped["detail"].as_str().is_some_and(|detail| detail.contains("query")), "{untyped}");
}

#[tokio::test]
async fn failures_reveal_nothing() {
    let server = server().await;
    for path in ["/panic", "/internal"] {
        let body = problem(get_path(&server, path).await, 500).await.to_string();
        assert!(!body.contains("secret"), "{body}");
    }
    assert_eq!(get_path(&server, "/hello").await.status(), 200);
}

#[tokio::test]
async fn refusals_say_when_and_what() {
    let server = server().await;
    let down = get_path(&server, "/down").await;
    assert_eq!(down.headers()["retry-after"], "7");
    assert_eq!(problem(down, 503).await["detail"], "the log is away");
    let invalid = problem(get_path(&server, "/invalid").await, 422).await;
    assert_eq!(invalid["errors"], serde_json::json!([{"index": 3, "field": "timestamp", "detail": "is no time"}]));
    let refused = Client::new().post(server.url("/refuse")).send().await.expect("an answer");
    assert!(refused.headers()["www-authenticate"].to_str().expect("text").starts_with("Bearer"));
    problem(refused, 401).await;
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let server = server().await;
    let ask = |method: Method, path: &str, name: &'static str, value: &'static str| {
        Client::new().request(method, server.url(path)).header(name, value).send()
    };
    problem(ask(Method::GET, "/hello", "host", "evil.example").await.expect("an answer"), 403).await;
    assert_eq!(ask(Method::GET, "/hello", "host", "tally.example.com").await.expect("an answer").status(), 200);
    problem(ask(Method::POST, "/read", "origin", "http://evil.example").await.expect("an answer"), 403).await;
    assert_eq!(ask(Method::POST, "/read", "origin", "https://pages.example.com").await.expect("an answer").status(), 200);
    let own = format!("http://{}", server.address);
    let same = Client::new().post(server.url("/read")).header(ORIGIN, own).send().await.expect("an answer");
    assert_eq!(same.status(), 200);
}

#[tokio::test]
async fn http_2_is_spoken_and_its_authority_checked() {
    let server = server().await;
    let status = async |authority: &str| {
        let stream = TokioIo::new(TcpStream::connect(server.address).await.expect("a connection"));
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let request = hyper::Request::get(format!("http://{authority}/hello")).body(Body::empty()).expect("a request");
        sender.send_request(request).await.expect("an answer").status().as_u16()
    };
    assert_eq!(status("localhost").await, 200);
    assert_eq!(status("evil.example").await, 403);
}

#[tokio::test]
async fn only_configured_origins_get_cors() {
    let server = server().await;
    let preflight = |origin: &'static str| {
        Client::new()
            .request(Method::OPTIONS, server.url("/read"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type,idempotency-key")
            .send()
    };
    let good = preflight("https://pages.example.com").await.expect("an answer");
    assert_eq!(good.headers()["access-control-allow-origin"], "https://pages.example.com");
    assert!(good.headers()["access-control-allow-headers"].to_str().expect("text").contains("idempotency-key"));
    let bad = preflight("http://evil.example").await.expect("an answer");
    assert!(!bad.headers().contains_key("access-control-allow-origin"));
    let error = Client::new().get(server.url("/down")).header("origin", "https://pages.example.com").send().await.expect("an answer");
    assert_eq!(error.headers()["access-control-allow-origin"], "https://pages.example.com");
    let exposed = error.headers()["access-control-expose-headers"].to_str().expect("text").to_ascii_lowercase();
    for name in ["date", "etag", "retry-after", "x-request-id"] {
        assert!(exposed.split(',').any(|each| each.trim() == name), "{name} in {exposed}");
    }
    problem(error, 503).await;
}

#[tokio::test]
async fn pages_and_answers_have_their_policies() {
    let server = server().await;
    let page = get_path(&server, "/page").await;
    assert!(page.headers()["content-security-policy"].to_str().expect("text").contains("default-src 'self'"));
    assert_eq!(page.headers()["x-frame-options"], "DENY");
    let api = get_path(&server, "/hello").await;
    assert!(api.headers()["content-security-policy"].to_str().expect("text").contains("default-src 'none'"));
    assert_eq!(api.headers()["referrer-policy"], "no-referrer");
    // A browser would put the policy of a 304 over that of the page which it kept.
    let unchanged = get_path(&server, "/unchanged").await;
    assert_eq!(unchanged.status(), 304);
    assert!(!unchanged.headers().contains_key("content-security-policy"));
}

#[tokio::test]
async fn the_trace_goes_on_and_none_is_made_up() {
    let server = server().await;
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = Client::new().get(server.url("/trace")).header("traceparent", given).send().await.expect("an answer");
    assert_eq!(answer.text().await.expect("text"), given);
    assert_eq!(get_path(&server, "/trace").await.text().await.expect("text"), "", "nobody would record it");
}

#[tokio::test]
async fn durations_are_measured_by_route_and_never_by_path() {
    let server = server().await;
    for path in ["/items/one", "/items/two", "/made/up"] {
        get_path(&server, path).await;
    }
    Client::new().request(Method::from_bytes(b"BREW").expect("a method"), server.url("/hello")).send().await.expect("an answer");
    let rendered = PROMETHEUS.render();
    for line in [
        r#"http_request_duration_seconds_count{service="test",route="/items/{id}",method="GET",status="200"} 2"#,
        r#"service="test",route="unmatched",method="GET",status="404""#,
        r#"service="test",route="/hello",method="other",status="405""#,
        r#"http_request_duration_seconds_bucket{service="test",route="/items/{id}",method="GET",status="200",le="0.05"}"#,
    ] {
        assert!(rendered.contains(line), "{line}\n{rendered}");
    }
    assert!(!rendered.contains("/items/one") && !rendered.contains("BREW"), "{rendered}");
}

#[tokio::test]
async fn bodies_are_read_within_bounds() {
    let server = server().await;
    let post = |body: reqwest::Body| Client::new().post(server.url("/read")).body(body).send();
    assert_eq!(post("a".repeat(1_000).into()).await.expect("an answer").text().await.expect("text"), "1000");
    problem(post("a".repeat(1_001).into()).await.expect("an answer"), 413).await;
    let unannounced = futures::stream::iter((0..2).map(|_| Ok::<_, std::io::Error>(vec![b'a'; 800])));
    problem(post(reqwest::Body::wrap_stream(unannounced)).await.expect("an answer"), 413).await;
    let slow = futures::stream::once(std::future::pending::<Result<Vec<u8>, std::io::Error>>());
    problem(post(reqwest::Body::wrap_stream(slow)).await.expect("an answer"), 408).await;
}

#[tokio::test]
async fn a_refused_body_is_read_on_so_that_the_answer_is_seen() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let body = vec![b'a'; 6 * 1024 * 1024];
    let head = format!("POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.expect("sent");
    // More than fits into the sockets' buffers: without somebody who reads, this fails or hangs.
    tokio::time::timeout(Duration::from_secs(20), stream.write_all(&body)).await.expect("in time").expect("sent");
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.expect("sent");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.expect("an answer");
    assert!(answers.starts_with("HTTP/1.1 401 "), "{answers}");
    assert!(answers.ends_with("hello"), "{answers}");
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_is_not_asked_for_a_refused_body() {
    let server = server().await;
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let head = "POST /refuse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.expect("an answer");
    assert!(answers.starts_with("HTTP/1.1 401 "), "{answers}");
}
