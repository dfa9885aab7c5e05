//! Schemas that a Confluent schema registry knows: looked up once, when a record names one that this process has not
//! seen. Must not register anything: writers do.

use event_log::{LogError, LogRecord};
use schemas::codec::Codec;
use service_kit::registry::{Registry, RegistryConfig, RegistryError};
use std::collections::HashSet;
use std::sync::Mutex;

/// First byte of the Confluent form; the registry's id of the schema follows.
const CONFLUENT: u8 = 0;
/// Ids that may be remembered; a stream of made-up ids must not fill the memory.
const MOST_IDS: usize = 10_000;

/// The schemas of one topic.
#[derive(Debug)]
pub(crate) struct TopicSchemas {
    codec: &'static Codec,
    registry: Option<Registry>,
    /// Ids that were looked up, whatever came of it.
    seen: Mutex<HashSet<u32>>,
}

impl TopicSchemas {
    /// The schemas that `codec` is to read.
    pub(crate) fn new(config: &RegistryConfig, codec: &'static Codec) -> Result<Self, RegistryError> {
        Ok(Self { codec, registry: Registry::new(config)?, seen: Mutex::default() })
    }

    /// Makes the schemas of these records known. Fails only where the registry does not answer for now: the records
    /// may be fine, so nobody should go on without them.
    pub(crate) async fn learn(&self, records: &[LogRecord]) -> Result<(), LogError> {
        let Some(registry) = &self.registry else { return Ok(()) };
        for id in records.iter().filter_map(|record| schema_id(&record.value)) {
            if self.seen.lock().expect("no panic while held").contains(&id) {
                continue;
            }
            match registry.teach(self.codec, id).await {
                Ok(()) => {}
                Err(error) if error.is_retryable() => return Err(LogError::Unavailable(error.to_string())),
                Err(error) => tracing::warn!(%error, id, "records with this schema cannot be read"),
            }
            let mut seen = self.seen.lock().expect("no panic while held");
            if seen.len() >= MOST_IDS {
                seen.clear();
            }
            seen.insert(id);
        }
        Ok(())
    }
}

fn schema_id(value: &[u8]) -> Option<u32> {
    match value {
        [CONFLUENT, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::{Path, State};
    use axum::http::StatusCode;
    use axum::routing::get;
    use axum::{Json, Router};
    use bytes::Bytes;
    use schemas::AgentTotals;
    use schemas::codec::{AGENT_TOTALS_SCHEMA, TOTALS, WireForm, decode_totals, encode_totals};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[derive(Default)]
    struct Answers {
        asked: AtomicUsize,
        is_down: AtomicBool,
    }

    async fn schema(State(registry): State<Arc<Answers>>, Path(id): Path<u32>) -> (StatusCode, Json<serde_json::Value>) {
        registry.asked.fetch_add(1, Ordering::SeqCst);
        match (registry.is_down.load(Ordering::SeqCst), id) {
            (true, _) => (StatusCode::SERVICE_UNAVAILABLE, Json(serde_json::json!({}))),
            (false, 71_001) => (StatusCode::OK, Json(serde_json::json!({ "schema": AGENT_TOTALS_SCHEMA }))),
            _ => (StatusCode::NOT_FOUND, Json(serde_json::json!({ "error_code": 40403, "message": "Schema not found" }))),
        }
    }

    async fn registry() -> (Arc<Answers>, TopicSchemas) {
        let registry = Arc::<Answers>::default();
        let router = Router::new().route("/schemas/ids/{id}", get(schema)).with_state(Arc::clone(&registry));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let config = RegistryConfig { schema_registry_url: Some(url), ..RegistryConfig::default() };
        (registry, TopicSchemas::new(&config, &TOTALS).expect("settings"))
    }

    fn record(form: WireForm) -> LogRecord {
        let totals = AgentTotals { agent_id: "a".into(), version: 7, ..AgentTotals::default() };
        let value: Bytes = encode_totals(&totals, form).into();
        LogRecord { partition: 0, offset: 0, appended_at_ms: 0, key: Bytes::new(), value, headers: Vec::new() }
    }

    #[tokio::test]
    async fn a_schema_is_looked_up_once_and_then_read() {
        let (registry, schemas) = registry().await;
        let records = [record(WireForm::Confluent(71_001)), record(WireForm::SingleObject), record(WireForm::Confluent(71_002))];
        assert!(decode_totals(&records[0].value).is_err());
        registry.is_down.store(true, Ordering::SeqCst);
        assert!(schemas.learn(&records).await.is_err_and(|e| e.is_retryable()));
        registry.is_down.store(false, Ordering::SeqCst);
        schemas.learn(&records).await.expect("an answer");
        assert_eq!(decode_totals(&records[0].value).map(|t| t.version).ok(), Some(7));
        assert!(decode_totals(&records[2].value).is_err());
        let asked = registry.asked.load(Ordering::SeqCst);
        schemas.learn(&records).await.expect("nothing to ask");
        assert_eq!(registry.asked.load(Ordering::SeqCst), asked);
    }
}
