//! Turns a log record into an event: either wire form, old schemas, the registry's where one is configured.

use crate::partition::DeadReason;
use event_log::LogRecord;
use schemas::AgentEvent;
use schemas::codec::{self, DecodeError};
use service_kit::registry::{Registry, RegistryConfig, RegistryError};
use std::time::Duration;

/// Decodes records of the events topic.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    registry: Option<Registry>,
}

/// Tries of a registry that does not answer, before the partition waits with a warning.
const WARN_EVERY: u32 = 10;

impl Decoder {
    /// A decoder that asks the configured registry for schemas that it does not know.
    ///
    /// # Errors
    /// Where the registry's settings cannot be used.
    pub fn new(registry: &RegistryConfig) -> Result<Self, RegistryError> {
        Ok(Self { registry: Registry::new(registry)? })
    }

    /// The record's event, or why it has none. Waits for a registry that does not answer: the record may be fine.
    pub async fn decode(&self, record: &LogRecord) -> Result<AgentEvent, DeadReason> {
        let mut tries = 0u32;
        loop {
            match codec::decode_event(&record.value) {
                Ok(event) => return Ok(event),
                Err(DecodeError::UnknownSchemaId(id)) => {
                    let Some(registry) = &self.registry else {
                        return Err(undecodable(format!("schema id {id}, but SCHEMA_REGISTRY_URL is not set")));
                    };
                    match registry.teach(&codec::EVENTS, id).await {
                        Ok(()) => {}
                        Err(error) if !error.is_retryable() => return Err(undecodable(error.to_string())),
                        Err(error) => {
                            tries += 1;
                            if tries % WARN_EVERY == 1 {
                                tracing::warn!(error = &error as &dyn std::error::Error, id, "waiting for the schema registry");
                            }
                            tokio::time::sleep(Duration::from_millis(500)).await;
                        }
                    }
                }
                Err(e) => return Err(undecodable(e.to_string())),
            }
        }
    }
}

fn undecodable(detail: String) -> DeadReason {
    DeadReason { reason: "undecodable", stage: "decode", detail: detail.chars().take(200).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Path;
    use axum::http::{HeaderMap, StatusCode, header};
    use axum::routing::get;
    use axum::{Json, Router};
    use bytes::Bytes;
    use schemas::codec::{AGENT_EVENT_SCHEMA, WireForm, encode_event};
    use serde_json::{Value, json};

    /// A registry that knows the schema 73001 and lets only `user:secret` in.
    async fn schema(headers: HeaderMap, Path(id): Path<u32>) -> (StatusCode, Json<Value>) {
        let is_let_in = headers.get(header::AUTHORIZATION).is_some_and(|value| value == "Basic dXNlcjpzZWNyZXQ=");
        match id {
            _ if !is_let_in => (StatusCode::UNAUTHORIZED, Json(json!({"error_code": 40101, "message": "who?"}))),
            73_001 => (StatusCode::OK, Json(json!({"schema": AGENT_EVENT_SCHEMA}))),
            _ => (StatusCode::NOT_FOUND, Json(json!({"error_code": 40403, "message": "Schema not found"}))),
        }
    }

    fn record(schema_id: u32) -> LogRecord {
        let event = AgentEvent::new("a", 1_767_781_800_000_000, "e", schemas::MessageType::Error);
        let value: Bytes = encode_event(&event, WireForm::Confluent(schema_id)).into();
        LogRecord { partition: 0, offset: 0, appended_at_ms: 0, key: Bytes::new(), value, headers: Vec::new() }
    }

    #[tokio::test]
    async fn schemas_come_from_a_registry_that_wants_a_password() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/schemas/ids/{id}", get(schema))).await });
        let decoder = Decoder::new(&RegistryConfig {
            schema_registry_url: Some(url),
            schema_registry_user: Some("user".into()),
            schema_registry_password: Some("secret".into()),
        })
        .expect("settings");
        assert_eq!(decoder.decode(&record(73_001)).await.expect("an event").agent_id, "a");
        assert_eq!(decoder.decode(&record(73_002)).await.expect_err("no schema").reason, "undecodable");
    }

    #[tokio::test]
    async fn without_a_registry_the_confluent_form_is_a_dead_letter() {
        assert_eq!(Decoder::default().decode(&record(73_003)).await.expect_err("no registry").reason, "undecodable");
    }
}
