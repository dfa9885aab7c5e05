//! With a schema registry, records carry its id.

use crate::server::Server;
use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use schemas::codec::{AGENT_EVENT_SCHEMA, EVENTS, WireForm, decode_event};
use serde_json::{Value, json};
use service_kit::registry::{RegistryConfig, register};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// The one endpoint of a Confluent schema registry that registering needs.
async fn registry() -> (String, Seen) {
    async fn take(State(seen): State<Seen>, Path(subject): Path<String>, body: String) -> Json<Value> {
        seen.lock().unwrap().push((subject, serde_json::from_str(&body).unwrap()));
        Json(json!({"id": 4711}))
    }
    let seen = Seen::default();
    let router = Router::new().route("/subjects/{subject}/versions", post(take)).with_state(Arc::clone(&seen));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, seen)
}

#[tokio::test]
async fn the_schema_is_registered_and_records_name_it() {
    let (url, seen) = registry().await;
    let config = RegistryConfig { schema_registry_url: Some(url), ..RegistryConfig::default() };
    let form = register(&config, "agent-events", "agent_tally.AgentEvent", AGENT_EVENT_SCHEMA).await.unwrap();
    assert_eq!(form, WireForm::Confluent(4711));
    let (subject, body) = seen.lock().unwrap().remove(0);
    assert_eq!(subject, "agent-events-value");
    assert_eq!(body["schema"], AGENT_EVENT_SCHEMA);

    let server = Server::start_framed(form).await;
    assert_eq!(server.post_event(r#"{"message_type":"error","content":"x"}"#).await.0, 202);
    let value = server.records().await.remove(0).value;
    assert_eq!(value[..5], [0, 0, 0, 0x12, 0x67]);
    EVENTS.register(4711, AGENT_EVENT_SCHEMA).unwrap();
    assert_eq!(decode_event(&value).unwrap().content.as_deref(), Some("x"));
}

#[tokio::test]
async fn a_registry_that_is_not_there_stops_the_start() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let config = RegistryConfig { schema_registry_url: Some(url), ..RegistryConfig::default() };
    assert!(register(&config, "agent-events", "agent_tally.AgentEvent", AGENT_EVENT_SCHEMA).await.is_err());
}
