//! Turns a log record into an event: either wire form, old schemas, the registry's where one is configured.

use crate::partition::DeadReason;
use event_log::LogRecord;
use schema_registry_converter::async_impl::schema_registry::{SrSettings, get_schema_by_id, post_schema};
use schema_registry_converter::schema_registry_common::{SchemaType, SuppliedSchema};
use schemas::AgentEvent;
use schemas::codec::{self, DecodeError};
use std::time::Duration;

/// Decodes records of the events topic.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    registry: Option<SrSettings>,
}

/// Tries of a registry that does not answer, before the partition waits with a warning.
const WARN_EVERY: u32 = 10;

impl Decoder {
    /// A decoder that asks the registry at `url` for schemas that it does not know.
    pub fn new(registry_url: Option<&str>) -> Self {
        Self { registry: registry_url.map(|url| SrSettings::new(url.to_owned())) }
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
                    match get_schema_by_id(id, registry).await {
                        Ok(schema) => codec::EVENTS.register(id, &schema.schema).map_err(|e| undecodable(e.to_string()))?,
                        Err(e) if !e.retriable => return Err(undecodable(format!("the registry does not know schema id {id}"))),
                        Err(e) => {
                            tries += 1;
                            if tries % WARN_EVERY == 1 {
                                tracing::warn!(error = %e, id, "the schema registry does not answer");
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

/// Registers the schema of the live totals and returns its id.
pub async fn register_totals(url: &str, topic: &str) -> anyhow::Result<u32> {
    let schema = SuppliedSchema::new(Some("agent_tally.AgentTotals".into()), SchemaType::Avro, codec::AGENT_TOTALS_SCHEMA.into());
    let registered = post_schema(&SrSettings::new(url.to_owned()), format!("{topic}-value"), schema).await?;
    Ok(registered.id)
}

fn undecodable(detail: String) -> DeadReason {
    DeadReason { reason: "undecodable", stage: "decode", detail: detail.chars().take(200).collect() }
}
