//! Counts every accepted event exactly once.
//!
//! One event passes through the modules in this order:
//! `consume` hands the partition's records over, [`decode`] reads them, [`partition`] decides (it does no I/O: it is
//! a state machine that the model test drives with crashes, zombies and delayed writes), [`insert`] writes the raw
//! event if it is absent, [`fold`] says what it adds, [`flush`] forms the additions to the rollups, [`store`] makes
//! them under the mark and notes who used and who is there, [`announce`] publishes the new totals, [`commit`] moves
//! the group's offset behind everything that is finished. What cannot be processed goes to [`dead_letter`].
//!
//! It serves no HTTP but health and metrics, and it never edits what it has inserted.

pub mod announce;
mod barrier;
pub mod checkpoint;
pub mod commit;
pub mod config;
mod consume;
pub mod cost;
pub mod dead_letter;
pub mod decode;
pub mod failpoint;
pub mod flush;
pub mod fold;
pub mod insert;
mod lag;
mod measure;
pub mod partition;
pub mod shards;
pub mod store;
pub mod tables;

pub use config::{AggregatorConfig, Cadence, GROUP};
pub use tables::{TableOptions, check_tables, create_tables, has_conversation_index};

use aws_sdk_dynamodb::Client;
use event_log::Log;
use futures::future::BoxFuture;
use schemas::codec::AGENT_TOTALS_SCHEMA;
use schemas::item::TableNames;
use service_kit::registry;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Makes everything that the store has taken so far durable; awaited before each commit. Only the embedded
/// store needs one: DynamoDB's answers are durable.
pub type Barrier = Arc<dyn Fn() -> BoxFuture<'static, std::io::Result<()>> + Send + Sync>;

/// What the aggregator works with.
#[derive(Clone)]
pub struct AggregatorParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Client,
    /// The store's tables.
    pub tables: TableNames,
    /// Where it says whether it is ready.
    pub readiness: service_kit::admin::Readiness,
    /// Awaited before each commit.
    pub barrier: Option<Barrier>,
}

impl std::fmt::Debug for AggregatorParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AggregatorParts").field("log", &self.log).field("tables", &self.tables).finish_non_exhaustive()
    }
}

/// Runs until `shutdown`, then finishes and commits what it began. An error means that it must not go on.
pub async fn run(config: AggregatorConfig, parts: AggregatorParts, shutdown: CancellationToken) -> anyhow::Result<()> {
    config.validate()?;
    check_tables(&parts.store, &parts.tables).await?;
    let decoder = decode::Decoder::new(&config.registry)?;
    let wire_form = registry::register(&config.registry, &config.topic_metrics, "agent_tally.AgentTotals", AGENT_TOTALS_SCHEMA).await?;
    parts.log.partitions(&config.topic_events).await.or_else(|e| match e {
        event_log::LogError::UnknownTopic(topic) => Err(anyhow::anyhow!("topic {topic} does not exist; start once with --create-tables")),
        // A log that does not answer yet is waited for.
        _ => Ok(0),
    })?;
    consume::consume(config, parts, decoder, wire_form, shutdown).await
}
