//! What must be known to find things: over how many keys an agent's raw events are spread, and how many log
//! partitions have written fleet items; and beside them what counting has cost and where it stopped. Read from the control table and the log, kept fresh in the background.

use crate::store::{StoreError, failure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use event_log::Log;
use schemas::item::{ID, KIND, ShardPlan, TableNames, WRITE_UNITS, WRITE_UNITS_RECORDS, WRITE_UNITS_SINCE, kind, s};
use service_kit::admin::Readiness;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often all this is read again. A plan is set at least 15 minutes ahead, and partitions are added by hand.
const REFRESH: Duration = Duration::from_secs(10);

/// The last state read.
#[derive(Clone, Debug)]
pub(crate) struct Shards {
    known: Arc<RwLock<Known>>,
    log: Arc<dyn Log>,
    topic: String,
}

#[derive(Debug, Default)]
struct Known {
    plans: HashMap<String, Vec<ShardPlan>>,
    partitions: u32,
    spent: Option<Spent>,
    stopped: Vec<Stopped>,
}

/// A partition that an aggregator stopped before it buried more, as it noted it then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// The partition.
    pub(crate) partition: u32,
    /// The log's epoch.
    pub(crate) epoch: u32,
    /// The first offset that was not buried.
    pub(crate) offset: u64,
    /// Why it would have been.
    pub(crate) reason: String,
    /// How many died within a minute.
    pub(crate) dead_letters: u64,
    /// When.
    pub(crate) at: String,
}

/// What counting has cost, as the aggregators told with their checkpoints, over all partitions of the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Write units.
    pub(crate) write_units: u64,
    /// Records finished for them.
    pub(crate) records: u64,
    /// Since when both are counted, ms since the epoch.
    pub(crate) since_ms: i64,
}

impl Shards {
    /// Reads once, then again and again until `shutdown`.
    pub(crate) async fn start(
        (store, tables): (Client, TableNames),
        (log, topic): (Arc<dyn Log>, String),
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> Result<Self, StoreError> {
        let shards = Self { known: Arc::default(), log, topic };
        shards.refresh(&store, &tables).await?;
        readiness.set("store", Ok(()));
        let kept = shards.clone();
        tokio::spawn(async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(REFRESH)).await.is_some() {
                let outcome = kept.refresh(&store, &tables).await;
                if let Err(error) = &outcome {
                    tracing::warn!(%error, "cannot read the shard plans, keeping the last ones");
                }
                readiness.set("store", outcome.map_err(|error| error.to_string()));
            }
        });
        Ok(shards)
    }

    /// The plans of one agent.
    pub(crate) fn plans_of(&self, agent_id: &str) -> Vec<ShardPlan> {
        self.known.read().map(|known| known.plans.get(agent_id).cloned().unwrap_or_default()).unwrap_or_default()
    }

    /// Number of partitions that may have fleet items: the log's, or more where an older epoch's topic had more.
    pub(crate) async fn fleet_partitions(&self) -> u32 {
        let known = self.known.read().map_or(1, |known| known.partitions);
        // Partitions may be added while we run, and their events count from then on. While the log does not
        // answer, what was known is the best there is.
        let now = self.log.partitions(&self.topic).await.unwrap_or(known);
        known.max(now).max(1)
    }

    /// What counting has cost; `None` where no aggregator has told.
    pub(crate) fn spent(&self) -> Option<Spent> {
        self.known.read().ok()?.spent
    }

    /// Partitions that stopped; some may have gone on since.
    pub(crate) fn stopped(&self) -> Vec<Stopped> {
        self.known.read().map(|known| known.stopped.clone()).unwrap_or_default()
    }

    async fn refresh(&self, store: &Client, tables: &TableNames) -> Result<(), StoreError> {
        let mut plans: HashMap<String, Vec<ShardPlan>> = HashMap::new();
        for item in control_items(store, tables, kind::SHARD_PLAN).await? {
            if let Some((agent, plan)) = plan_of(&item) {
                plans.entry(agent).or_default().push(plan);
            }
        }
        let checkpoints = control_items(store, tables, kind::CHECKPOINT).await?;
        let stopped = control_items(store, tables, kind::STOPPED).await?;
        let counted = checkpoints.iter().filter_map(partition_of).max().map_or(0, |p| p + 1);
        let partitions = self.log.partitions(&self.topic).await.unwrap_or(0).max(counted);
        if let Ok(mut known) = self.known.write() {
            known.plans = plans;
            known.partitions = partitions.max(known.partitions);
            known.stopped = stopped.iter().filter_map(|item| stopped_of(item, &self.topic)).collect();
            known.spent = checkpoints.iter().filter_map(|checkpoint| spent_of(checkpoint, &self.topic)).reduce(Spent::joined);
        }
        Ok(())
    }
}

fn plan_of(item: &HashMap<String, AttributeValue>) -> Option<(String, ShardPlan)> {
    let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<i64>().ok();
    let agent = item.get("agent_id")?.as_s().ok()?;
    Some((agent.clone(), ShardPlan { from: number("from")?, shards: u32::try_from(number("shards")?).ok()? }))
}

fn partition_of(checkpoint: &HashMap<String, AttributeValue>) -> Option<u32> {
    checkpoint.get(ID)?.as_s().ok()?.rsplit(':').next()?.parse().ok()
}

fn stopped_of(item: &HashMap<String, AttributeValue>, topic: &str) -> Option<Stopped> {
    let number = |name: &str| item.get(name)?.as_n().ok()?.parse::<u64>().ok();
    let text = |name: &str| item.get(name)?.as_s().ok().cloned();
    let id = text(ID)?;
    let (_, partition) = id.rsplit_once(':').filter(|(of, _)| *of == topic)?;
    Some(Stopped {
        partition: partition.parse().ok()?,
        epoch: number("epoch")?.try_into().ok()?,
        offset: number("offset")?,
        reason: text("reason")?,
        dead_letters: number("dead_letters")?,
        at: text("at")?,
    })
}

fn spent_of(checkpoint: &HashMap<String, AttributeValue>, topic: &str) -> Option<Spent> {
    let number = |name: &str| checkpoint.get(name)?.as_n().ok()?.parse::<u64>().ok();
    let (of, _) = checkpoint.get(ID)?.as_s().ok()?.rsplit_once(':')?;
    let since_ms = number(WRITE_UNITS_SINCE).and_then(|ms| i64::try_from(ms).ok()).filter(|_| of == topic)?;
    Some(Spent { write_units: number(WRITE_UNITS)?, records: number(WRITE_UNITS_RECORDS)?, since_ms })
}

impl Spent {
    fn joined(self, other: Self) -> Self {
        Self {
            write_units: self.write_units + other.write_units,
            records: self.records + other.records,
            since_ms: self.since_ms.min(other.since_ms),
        }
    }
}

async fn control_items(store: &Client, tables: &TableNames, kind: &str) -> Result<Vec<HashMap<String, AttributeValue>>, StoreError> {
    let mut pages = store
        .query()
        .table_name(&tables.control)
        .key_condition_expression("#k = :k")
        .expression_attribute_names("#k", KIND)
        .expression_attribute_values(":k", s(kind))
        .into_paginator()
        .items()
        .send();
    let mut items = Vec::new();
    while let Some(item) = pages.next().await {
        items.push(item.map_err(|error| failure("Query", &error))?);
    }
    Ok(items)
}
