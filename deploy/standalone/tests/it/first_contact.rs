use crate::server::Server;
use serde_json::json;

#[tokio::test]
async fn the_first_event_is_accepted_counted_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    let event = json!({"message_type": "agent_response", "model_used": "gpt-5-mini", "response_time_ms": 840, "input_tokens": 1200, "output_tokens": 180});
    let (status, answer) = server.post("my-agent", &event).await;
    assert_eq!((status, &answer["status"]), (202, &json!("success")), "{answer}");
    server.await_counted(answer["receipt"].as_str().unwrap()).await;

    let (status, answer) = server.get("/api/v1/agents/my-agent/metrics?days=1").await;
    assert_eq!(status, 200, "{answer}");
    let metrics = &answer["metrics"];
    assert_eq!((metrics["total_responses"].as_i64(), metrics["total_tokens_used"].as_i64()), (Some(1), Some(1380)), "{answer}");
    assert_eq!(metrics["average_response_time"].as_f64(), Some(840.0));
    assert_eq!(server.get("/api/v1/agents").await.1, json!(["my-agent"]));
    assert_eq!(server.get("/health").await.1["status"], "healthy");
}

#[tokio::test]
async fn what_was_accepted_before_an_orderly_stop_is_there_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    for _ in 0..20 {
        assert_eq!(server.post("a", &json!({"message_type": "user_message"})).await.0, 202);
    }
    assert_eq!(server.stop().await.code(), Some(0));
    let server = Server::start(dir.path(), &[]).await;
    let (_, answer) = server.post("a", &json!({"message_type": "user_message"})).await;
    server.await_counted(answer["receipt"].as_str().unwrap()).await;
    let (_, answer) = server.get("/api/v1/agents/a/metrics?days=2").await;
    assert_eq!(answer["metrics"]["total_messages"], 21, "{answer}");
}

#[tokio::test]
async fn what_was_accepted_before_a_kill_is_there_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    for _ in 0..20 {
        assert_eq!(server.post("a", &json!({"message_type": "user_message"})).await.0, 202);
    }
    server.kill();
    let server = Server::start(dir.path(), &[]).await;
    let (_, answer) = server.post("a", &json!({"message_type": "user_message"})).await;
    server.await_counted(answer["receipt"].as_str().unwrap()).await;
    let (_, answer) = server.get("/api/v1/agents/a/metrics?days=2").await;
    assert_eq!(answer["metrics"]["total_messages"], 21, "{answer}");
}

#[tokio::test]
async fn the_first_page_shows_the_curl_for_the_address_that_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["--no-dashboard"]).await;
    let page = server.http.get(server.at("/")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let text = page.text().await.unwrap();
    assert!(text.contains(&format!("curl -s {}/api/v1/agents/my-agent/events", server.url)), "{text}");
    let style = server.http.get(server.at("/first-page.css")).send().await.unwrap();
    assert!(style.headers()["content-type"].to_str().unwrap().starts_with("text/css"));
    assert_eq!(server.get("/nothing/here").await.0, 404);
}

#[tokio::test]
async fn prometheus_finds_its_metrics_on_the_same_port() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &[]).await;
    server.post("a", &json!({"message_type": "user_message"})).await;
    let text = server.http.get(server.at("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("http_request_duration_seconds_bucket"), "{text}");
}
