//! Counts every accepted event exactly once.
//!
//! One event passes through the modules in this order:
//! `consume` hands the partition's records over, [`decode`] reads them, [`partition`] decides (it does no I/O: it is
//! a state machine that the model test drives with crashes, zombies and delayed writes), [`insert`] writes the raw
//! event if it is absent, [`fold`] says what it adds, [`flush`] forms the additions to the rollups, [`store`] makes
//! them under the mark and notes who used and who is there, [`announce`] publishes the new totals, [`commit`] moves
//! the group's offset behind everything that is finished. What cannot be processed goes to [`dead_letter`].
//!
//! During a [`rebuild`] the rollups have two versions ([`target`]), and all of this is done for both.
//!
//! It serves no HTTP but health and metrics, and it never edits what it has inserted, but for estimated costs that an operator
//! has priced anew, and events that one has [`delete`]d.

mod adaptive_limit;
pub mod announce;
mod barrier;
mod begun;
#[doc(hidden)]
pub mod books;
pub mod checkpoint;
pub mod commit;
pub mod config;
mod consume;
pub mod cost;
pub mod dead_letter;
pub mod decode;
pub mod delete;
pub mod failpoint;
pub mod flush;
pub mod fold;
pub mod insert;
mod lag;
mod measure;
pub mod partition;
pub mod rebuild;
mod rebuild_from;
pub mod shards;
mod stopped;
pub mod store;
pub mod tables;
pub mod target;
mod verdict;
pub mod verify;

pub use config::{AggregatorConfig, Cadence, DEAD_LETTER_LIMIT, GROUP};
pub use tables::{TableOptions, check_tables, create_tables, has_conversation_index};

use aws_sdk_dynamodb::Client;
use event_log::Log;
use futures::future::BoxFuture;
use schemas::codec::AGENT_TOTALS_SCHEMA;
use schemas::item::TableNames;
use service_kit::metrics_tables::{FollowedTables, MetricsTables};
use service_kit::store::patient;
use service_kit::{imported, registry};
use std::sync::Arc;
use tokio::sync::watch;
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
    let followed = FollowedTables::start(&parts.store, &parts.tables, shutdown.clone()).await?;
    let mut changes = followed.watch();
    imported::check(&patient(&parts.store), &parts.tables, config.epoch).await?;
    let decoder = decode::Decoder::new(&config.registry)?;
    let wire_form = registry::register(&config.registry, &config.topic_metrics, "agent_tally.AgentTotals", AGENT_TOTALS_SCHEMA).await?;
    parts.log.partitions(&config.topic_events).await.or_else(|e| match e {
        event_log::LogError::UnknownTopic(topic) => Err(anyhow::anyhow!("topic {topic} does not exist; start once with --create-tables")),
        // A log that does not answer yet is waited for.
        _ => Ok(0),
    })?;
    loop {
        let tables = changes.borrow_and_update().clone();
        let turn = shutdown.child_token();
        let reading = (decoder.clone(), wire_form);
        let work = consume::consume(config.clone(), parts.clone(), (followed.clone(), tables.clone()), reading, turn.clone());
        let mut work = std::pin::pin!(work);
        tokio::select! {
            outcome = &mut work => match outcome {
                // A change that it had not heard of.
                Err(error) if is_table_gone(&error) && followed.refresh().await.is_ok_and(|now| now.is_another(&tables)) => {
                    tracing::warn!(error = format!("{error:#}"), "begins anew: a version of the metrics table is gone");
                    continue;
                }
                outcome => return outcome,
            },
            // The sender lives as long as `followed`.
            () = another(&mut changes, &tables) => {}
        }
        // What was begun is finished and committed; then everything begins anew, with empty memories of the tables.
        tracing::info!(tables = ?changes.borrow().clone(), "the versions of the metrics table, or numbers in it, have changed");
        turn.cancel();
        match work.await {
            // Found out while it finished: what it did not commit is counted again.
            Err(error) if is_table_gone(&error) => tracing::warn!(error = format!("{error:#}"), "begins anew"),
            outcome => outcome?,
        }
        if shutdown.is_cancelled() {
            return Ok(());
        }
    }
}

/// Waits for a change that asks the aggregator to begin anew.
async fn another(changes: &mut watch::Receiver<MetricsTables>, tables: &MetricsTables) {
    drop(changes.wait_for(|now| now.is_another(tables)).await);
}

/// Whether a table was deleted under the aggregator's hands. Any other error, a failed sync above all, must end it.
fn is_table_gone(error: &anyhow::Error) -> bool {
    let is_gone =
        |cause: &store::StoreError| matches!(cause, store::StoreError::Hopeless { code, .. } if code == "ResourceNotFoundException");
    error.chain().filter_map(|cause| cause.downcast_ref()).any(is_gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_deleted_table_lets_it_begin_anew() {
        let hopeless = |code: &str| store::StoreError::Hopeless { operation: "UpdateItem", code: code.into(), message: String::new() };
        let error = |code| anyhow::Error::new(hopeless(code)).context("partition 3 cannot go on");
        assert!(is_table_gone(&error("ResourceNotFoundException")));
        assert!(!is_table_gone(&error("AccessDeniedException")));
        assert!(!is_table_gone(&anyhow::Error::new(std::io::Error::other("EIO")).context("the store's file cannot be synced")));
    }
}
