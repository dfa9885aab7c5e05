//! The admin port.

use reqwest::Response;
use serde_json::{Value, json};
use service_kit::admin::{Readiness, metrics, router};
use service_kit::http::HttpConfig;

use crate::Server;

async fn get(server: &Server, path: &str) -> Response {
    reqwest::get(server.url(path)).await.expect("an answer")
}

async fn json_of(response: Response) -> Value {
    response.json().await.expect("JSON")
}

#[tokio::test]
async fn health_says_what_is_not_ready_and_why() {
    let readiness = Readiness::new();
    let server = Server::start(router(readiness.clone()), &HttpConfig::default()).await;
    for path in ["/health", "/health/live"] {
        assert_eq!(json_of(get(&server, path).await).await, json!({"status": "healthy"}));
    }
    readiness.set("log", Err("connecting".into()));
    readiness.set("store", Ok(()));
    let waiting = get(&server, "/health/ready").await;
    assert_eq!(waiting.status(), 503);
    let not_ready = json!([{"component": "log", "reason": "connecting"}]);
    assert_eq!(json_of(waiting).await, json!({"status": "not ready", "not_ready": not_ready}));
    readiness.set("log", Ok(()));
    let ready = get(&server, "/health/ready").await;
    assert_eq!(ready.status(), 200);
    assert_eq!(json_of(ready).await, json!({"status": "ready"}));
}

#[tokio::test]
async fn metrics_are_rendered_as_text() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let server = Server::start(metrics(recorder.handle()), &HttpConfig::default()).await;
    let answer = get(&server, "/metrics").await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers()["content-type"].to_str().expect("text").starts_with("text/plain"));
}
