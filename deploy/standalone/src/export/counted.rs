//! Whether a store has counted its log to the end.

use aggregator::checkpoint::Checkpoints;
use anyhow::Context;
use aws_sdk_dynamodb::Client;
use event_log::{Log, LogError};
use schemas::item::{KIND, TableNames, kind, s};
use service_kit::log::Topics;
use std::sync::Arc;

/// A log and the store that it is counted into.
#[derive(Clone, Debug)]
pub(super) struct Counting {
    pub(super) log: Arc<dyn Log>,
    pub(super) checkpoints: Checkpoints,
    pub(super) epoch: u32,
}

impl Counting {
    pub(super) fn of(log: Arc<dyn Log>, store: Client, tables: TableNames, epoch: u32) -> Self {
        Self { log, checkpoints: Checkpoints { store, tables, topic: Topics::default().events }, epoch }
    }

    /// Number of partitions; none where nothing was ever served.
    pub(super) async fn partitions(&self) -> Result<u32, LogError> {
        match self.log.partitions(&self.checkpoints.topic).await {
            Err(LogError::UnknownTopic(_)) => Ok(0),
            answer => answer,
        }
    }

    /// Where each partition ends, if all of it is counted: committed, and noted by this store. The commit alone does not
    /// tell: it may be another store's, or one whose newest part was lost.
    pub(super) async fn ends(&self) -> anyhow::Result<Option<Vec<u64>>> {
        let topic = &self.checkpoints.topic;
        let partitions = self.partitions().await?;
        let committed = if partitions == 0 { Vec::new() } else { self.log.committed(aggregator::GROUP, topic).await? };
        let mut ends = Vec::new();
        for partition in 0..partitions {
            let bounds = self.log.bounds(topic, partition).await?;
            ends.push(bounds.end);
            if bounds.end == bounds.start {
                continue;
            }
            let checkpoint = self.checkpoints.read(partition).await.context("cannot read the control table")?;
            let is_noted = checkpoint.is_some_and(|c| c.epoch == self.epoch && c.offset + 1 == bounds.end);
            if !is_noted || committed.get(partition as usize).copied().flatten() != Some(bounds.end) {
                return Ok(None);
            }
        }
        Ok(Some(ends))
    }
}

/// The newest epoch that a store has counted; 0 where it has none.
pub(super) async fn newest_epoch(store: &Client, tables: &TableNames) -> anyhow::Result<u32> {
    let mut pages = store
        .query()
        .table_name(&tables.control)
        .key_condition_expression("#k = :k")
        .expression_attribute_names("#k", KIND)
        .expression_attribute_values(":k", s(kind::CHECKPOINT))
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    let mut newest = 0;
    while let Some(item) = pages.next().await {
        let item = item.context("cannot read the control table")?;
        newest = newest.max(item.get("epoch").and_then(|v| v.as_n().ok()).and_then(|n| n.parse().ok()).unwrap_or(0));
    }
    Ok(newest)
}
