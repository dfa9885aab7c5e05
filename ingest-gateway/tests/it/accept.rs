//! What the contract promises to well-behaved clients.

use crate::server::{Server, answer};
use event_log::Receipt;
use schemas::{MessageType, examples};
use serde_json::{Value, json};
use std::io::Write as _;

const EVENT: &str = r#"{"agent_id":"a","timestamp":"2026-01-07T10:30:00.123Z","message_type":"user_message","content":"hi"}"#;

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_accepted_event_is_in_the_log_with_what_travels_along() {
    let server = Server::start().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = server.post("/api/v1/agents/a/events").header("x-request-id", "req-1").header("traceparent", trace).body(EVENT);
    let (status, body) = answer(request).await;
    assert_eq!((status, &body["status"], &body["message"]), (202, &json!("success"), &json!("Event recorded successfully")));
    assert_eq!(body.as_object().unwrap().len(), 4);

    let records = server.records().await;
    let [record] = records.as_slice() else { panic!("one record, not {}", records.len()) };
    assert_eq!(body["receipt"], format!("0-{}-{}", record.partition, record.offset));
    assert_eq!(record.key, "a");
    let header = |name: &str| record.header(name).map(|value| String::from_utf8(value.to_vec()).unwrap());
    assert_eq!(header("epoch").as_deref(), Some("0"));
    assert_eq!(header("request-id").as_deref(), Some("req-1"));
    assert!(header("traceparent").unwrap().starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
    let event = server.events().await.remove(0);
    assert_eq!((event.content.as_deref(), event.message_type), (Some("hi"), MessageType::UserMessage));
    assert_eq!(body["event_id"], event.event_id);
}

#[tokio::test]
async fn every_golden_example_is_accepted() {
    let server = Server::start().await;
    for example in examples::all() {
        let agent = example.agent_id.replace('/', "%2F");
        let (status, body) = answer(server.post(&format!("/api/v1/agents/{agent}/events")).body(example.request)).await;
        assert_eq!((status, &body["event_id"]), (202, &json!(example.event.event_id)), "{}", example.name);
        let event = server.events().await.into_iter().find(|e| e.event_id == example.event.event_id).unwrap();
        assert_eq!((&event.agent_id, event.content_hash), (&example.agent_id, example.event.content_hash), "{}", example.name);
    }
}

/// As `requests.post(url, json=event.model_dump())` with `timestamp = datetime.utcnow().isoformat()` sends it.
#[tokio::test]
async fn a_client_of_the_older_system_works_unchanged() {
    let server = Server::start().await;
    let sent = json!({
        "agent_id": "support-bot", "timestamp": "2026-01-07T10:30:00.123456", "message_type": "agent_response", "content": "Hello",
        "metadata": {"user_id": "u", "session_id": "s", "conversation_id": "c", "trace_id": "t", "source": "web", "tokens_prompt": 5, "tokens_completion": 6, "error_type": null},
        "error_details": null, "response_time_ms": 812.5, "token_count": 11, "model_used": "gpt-4o", "user_feedback": null,
    });
    let request =
        server.client.post(server.url("/api/v1/agents/support-bot/events")).header("user-agent", "python-requests/2.32").json(&sent);
    let (status, body) = answer(request).await;
    assert_eq!((status, &body["status"]), (202, &json!("success")));
    let event = server.events().await.remove(0);
    assert_eq!(event.timestamp, 1_767_781_800_123_456);
    assert_eq!((event.user_id.as_deref(), event.conversation_id.as_deref(), event.token_count), (Some("u"), Some("c"), Some(11)));
    assert_eq!(serde_json::from_str::<Value>(&event.metadata.unwrap()).unwrap(), sent["metadata"]);

    // Without a timestamp, without a content type, coarse times: all of it was possible.
    let (status, _) = answer(server.client.post(server.url("/api/v1/agents/x/events")).body(r#"{"message_type":"error"}"#)).await;
    assert_eq!(status, 202);
    let (status, problem) = server.post_event(r#"{"message_type":"chat"}"#).await;
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap().contains("message_type"), "older clients read detail: {problem}");
}

#[tokio::test]
async fn the_same_body_gets_the_same_id_whichever_way_it_comes() {
    let server = Server::start().await;
    let ids = |body: &Value| strings(&body["event_ids"]).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let (_, single) = server.post_event(EVENT).await;
    let (_, again) = server.post_event(EVENT).await;
    assert_eq!(single["event_id"], again["event_id"]);
    let (_, array) = server.post_batch(&format!("[{EVENT},{EVENT}]")).await;
    let (_, object) = server.post_batch(&format!("{{\"events\":[{EVENT},{EVENT}]}}")).await;
    let lines =
        server.client.post(server.url("/api/v1/events")).header("content-type", "application/x-ndjson").body(format!("{EVENT}\n{EVENT}\n"));
    let (_, lines) = answer(lines).await;
    assert_eq!((ids(&array), ids(&array)), (ids(&object), ids(&lines)));
    assert_eq!(ids(&array)[0], single["event_id"]);
    assert_ne!(ids(&array)[0], ids(&array)[1], "two equal events of one request are two");
}

#[tokio::test]
async fn batches_come_packed_too() {
    let server = Server::start().await;
    let batch = format!("[{}]", vec![EVENT; 1_000].join(","));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(batch.as_bytes()).unwrap();
    let packed = [
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd::encode_all(batch.as_bytes(), 3).unwrap()),
        ("identity", batch.clone().into_bytes()),
    ];
    for (encoding, body) in packed {
        let (status, body) = answer(server.post("/api/v1/events").header("content-encoding", encoding).body(body)).await;
        assert_eq!((status, &body["accepted"]), (202, &json!(1_000)), "{encoding}");
    }
    assert_eq!(server.records().await.len(), 3_000);
}

#[tokio::test]
async fn a_receipt_names_the_highest_offset_of_each_partition() {
    let server = Server::start().await;
    let events: Vec<_> = (0..40).map(|i| EVENT.replace("\"a\"", &format!("\"agent-{}\"", i % 20))).collect();
    let (status, body) = server.post_batch(&format!("[{}]", events.join(","))).await;
    assert_eq!((status, &body["status"], &body["accepted"]), (202, &json!("success"), &json!(40)));
    assert_eq!(body.as_object().unwrap().len(), 4);
    let receipt: Receipt = body["receipt"].as_str().unwrap().parse().unwrap();
    for position in receipt.positions() {
        let bounds = server.log.bounds("agent-events", position.partition).await.unwrap();
        assert_eq!(position.offset + 1, bounds.end);
    }
    // An agent's events keep their order.
    let sent = strings(&body["event_ids"]);
    for agent in 0..20 {
        let agent = format!("agent-{agent}");
        let stored: Vec<_> = server.events().await.into_iter().filter(|e| e.agent_id == agent).map(|e| e.event_id).collect();
        let order: Vec<_> = stored.iter().map(|id| sent.iter().position(|s| s == id)).collect();
        assert!(order.is_sorted() && order.len() == 2, "{order:?}");
    }
}

#[tokio::test]
async fn agents_with_slashes_come_percent_encoded_and_the_path_wins() {
    let server = Server::start().await;
    let body = r#"{"agent_id":"other","message_type":"error"}"#;
    let (status, _) = answer(server.post("/api/v1/agents/team%2Fbot%40eu%3A1/events").body(body)).await;
    assert_eq!(status, 202);
    let records = server.records().await;
    assert_eq!(records[0].key, "team/bot@eu:1");
}

#[tokio::test]
async fn one_bad_event_refuses_the_batch_and_all_of_them_are_named() {
    let server = Server::start().await;
    let batch = format!(r#"[{EVENT},{{"agent_id":"a","message_type":"x","user_feedback":9}},{EVENT},{{"message_type":"error"}}]"#);
    let (status, problem) = server.post_batch(&batch).await;
    assert_eq!(status, 422);
    let named: Vec<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| (e["index"].as_u64().unwrap(), e["field"].as_str().unwrap())).collect();
    assert_eq!(named, [(1, "message_type"), (1, "user_feedback"), (3, "agent_id")]);
    assert!(problem["request_id"].is_string() && problem["title"].is_string());
    assert!(server.records().await.is_empty(), "nothing is published");
}

#[tokio::test]
async fn lenient_publishes_the_good_and_answers_by_index() {
    let server = Server::start().await;
    let batch = format!(r#"[{EVENT},{{"agent_id":"a","message_type":"x","user_feedback":9}},{EVENT}]"#);
    let (status, body) = answer(server.post("/api/v1/events").header("prefer", "respond-async, handling=lenient").body(batch)).await;
    assert_eq!((status, &body["accepted"], &body["rejected"]), (207, &json!(2), &json!(1)));
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.iter().map(|r| r["status"].as_u64().unwrap()).collect::<Vec<_>>(), [202, 422, 202]);
    assert_eq!(results[1]["errors"].as_array().unwrap().len(), 2);
    assert!(results[0]["event_id"].is_string() && results[1].get("event_id").is_none());
    assert!(body["receipt"].is_string());
    assert_eq!(server.records().await.len(), 2);

    let (status, body) = answer(server.post("/api/v1/events").header("prefer", "handling=lenient").body("[{}]")).await;
    assert_eq!((status, &body["accepted"], body.get("receipt")), (207, &json!(0), None));
}

#[tokio::test]
async fn one_bad_event_is_refused_however_lenient_its_client_is() {
    let server = Server::start().await;
    let lenient = |body: &'static str| answer(server.post("/api/v1/agents/a/events").header("prefer", "handling=lenient").body(body));
    let (status, problem) = lenient(r#"{"message_type":"x"}"#).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("message_type")));
    assert_eq!(lenient("[]").await.0, 422);
    assert_eq!(lenient(r#"{"message_type":"error"}"#).await.0, 202);
    assert_eq!(server.records().await.len(), 1);
}

#[tokio::test]
async fn unknown_fields_are_kept_or_on_request_refused() {
    let server = Server::start().await;
    let event = r#"{"message_type":"error","shiny":[1.0],"metadata":{"b":null}}"#;
    let (status, problem) = answer(server.post("/api/v1/agents/a/events").header("prefer", "handling=strict").body(event)).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("shiny")));
    assert_eq!(server.post_event(event).await.0, 202);
    assert_eq!(server.events().await[0].metadata.as_deref(), Some(r#"{"b":null,"shiny":[1.0]}"#));
}

#[tokio::test]
async fn idempotency_keys_stand_for_event_ids() {
    let server = Server::start().await;
    let key = |path: &str, key: &str, body: &str| answer(server.post(path).header("idempotency-key", key).body(body.to_owned()));
    let (status, body) = key("/api/v1/agents/a/events", "k-1", EVENT).await;
    assert_eq!((status, &body["event_id"]), (202, &json!("k-1")));
    let (status, body) = key("/api/v1/agents/a/events", "\"quoted\"", EVENT).await;
    assert_eq!((status, &body["event_id"]), (202, &json!("quoted")));
    let own = EVENT.replace('{', r#"{"event_id":"own","#);
    let (status, body) = key("/api/v1/events", "k-2", &format!("[{EVENT},{own},{EVENT}]")).await;
    assert_eq!((status, strings(&body["event_ids"])), (202, vec!["k-2:0", "own", "k-2:2"]));
    let (status, problem) = key("/api/v1/agents/a/events", "k-3", r#"{"message_type":"error"}"#).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!("timestamp")));
}

#[tokio::test]
async fn one_id_for_two_events_of_a_request_is_refused() {
    let server = Server::start().await;
    let one = EVENT.replace('{', r#"{"event_id":"x","#);
    let two = one.replace("hi", "ho");
    let (status, problem) = server.post_batch(&format!("[{one},{two}]")).await;
    assert_eq!((status, &problem["errors"][0]["index"], &problem["errors"][0]["field"]), (422, &json!(1), &json!("event_id")));
    assert_eq!(server.post_batch(&format!("[{one},{one}]")).await.0, 202, "a repeat is no conflict");
}

#[tokio::test]
async fn health_says_that_the_log_takes_events() {
    let server = Server::start().await;
    let (status, body) = answer(server.client.get(server.url("/health"))).await;
    assert_eq!((status, body), (200, json!({"status": "healthy"})));
    // Readiness is set by the watch, which may not have looked yet: the first answer may come before.
    let ready = async {
        while answer(server.client.get(server.url("/health/ready"))).await.0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::server::DEADLINE, ready).await.expect("ready");
}
