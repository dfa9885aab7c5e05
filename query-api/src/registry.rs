//! Schemas that a Confluent schema registry knows: looked up once, when a record names one that this process has not
//! seen. Must not register anything: writers do.

use clap::Args;
use event_log::{LogError, LogRecord};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id};
use schemas::codec::Codec;
use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

/// First byte of the Confluent form; the registry's id of the schema follows.
const CONFLUENT: u8 = 0;
const TIMEOUT: Duration = Duration::from_secs(5);
/// Ids that may be remembered; a stream of made-up ids must not fill the memory.
const MOST_IDS: usize = 10_000;

/// Where the schema registry is. Without one, only Avro's single-object encoding can be read.
#[derive(Args, Clone, Default)]
pub struct RegistryConfig {
    /// URL of a Confluent schema registry.
    #[arg(long, env = "SCHEMA_REGISTRY_URL")]
    pub schema_registry_url: Option<String>,

    /// User for the registry (Confluent Cloud: the API key).
    #[arg(long, env = "SCHEMA_REGISTRY_USER")]
    pub schema_registry_user: Option<String>,

    /// Password for the registry (Confluent Cloud: the API secret).
    #[arg(long, env = "SCHEMA_REGISTRY_PASSWORD", hide_env_values = true)]
    pub schema_registry_password: Option<String>,
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryConfig").field("schema_registry_url", &self.schema_registry_url).finish_non_exhaustive()
    }
}

/// The schemas of one topic.
#[derive(Debug)]
pub(crate) struct TopicSchemas {
    codec: &'static Codec,
    registry: Option<SrSettings>,
    /// Ids that were looked up, whatever came of it.
    seen: Mutex<HashSet<u32>>,
}

impl TopicSchemas {
    /// The schemas that `codec` is to read.
    pub(crate) fn new(config: &RegistryConfig, codec: &'static Codec) -> anyhow::Result<Self> {
        let registry = match &config.schema_registry_url {
            None => None,
            Some(url) => {
                let mut builder = SrSettings::new_builder(url.trim_end_matches('/').to_owned());
                builder.set_timeout(TIMEOUT);
                if let Some(user) = &config.schema_registry_user {
                    builder.set_basic_authorization(user, config.schema_registry_password.as_deref());
                }
                Some(builder.build()?)
            }
        };
        Ok(Self { codec, registry, seen: Mutex::default() })
    }

    /// Makes the schemas of these records known. Fails only where the registry does not answer for now: the records
    /// may be fine, so nobody should go on without them.
    pub(crate) async fn learn(&self, records: &[LogRecord]) -> Result<(), LogError> {
        let Some(registry) = &self.registry else { return Ok(()) };
        for id in records.iter().filter_map(|record| schema_id(&record.value)) {
            if self.seen.lock().expect("no panic while held").contains(&id) {
                continue;
            }
            match get_schema_by_id(id, registry).await {
                Ok(schema) => {
                    if let Err(error) = self.codec.register(id, &schema.schema) {
                        tracing::warn!(%error, id, "the registry's schema cannot be used");
                    }
                }
                Err(error) if error.retriable => return Err(LogError::Unavailable("the schema registry does not answer".into())),
                Err(error) => tracing::warn!(%error, id, "the registry does not know the schema"),
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
    struct Registry {
        asked: AtomicUsize,
        is_down: AtomicBool,
    }

    async fn schema(State(registry): State<Arc<Registry>>, Path(id): Path<u32>) -> Result<Json<serde_json::Value>, StatusCode> {
        registry.asked.fetch_add(1, Ordering::SeqCst);
        match (registry.is_down.load(Ordering::SeqCst), id) {
            (true, _) => Err(StatusCode::SERVICE_UNAVAILABLE),
            (false, 71_001) => Ok(Json(serde_json::json!({ "schema": AGENT_TOTALS_SCHEMA }))),
            _ => Err(StatusCode::NOT_FOUND),
        }
    }

    async fn registry() -> (Arc<Registry>, TopicSchemas) {
        let registry = Arc::<Registry>::default();
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
