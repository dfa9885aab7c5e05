//! From where on each partition is counted into a version of the metrics table that is being rebuilt.
//!
//! Noted before the first record is counted into both versions. So every position from there on comes to the new version
//! by the log, and every one before it, all of them finished, by the rebuild.

use crate::checkpoint::Checkpoints;
use anyhow::{Context as _, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use event_log::{Before, Position};
use schemas::item::{ID, Item, KIND, TableNames, kind, n, s};
use std::collections::BTreeMap;
use std::time::Duration;

/// The first position that a partition counts into both versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct From {
    /// The log's epoch.
    pub epoch: u32,
    /// The offset.
    pub offset: u64,
}

/// What comes by a rebuild and not by the log: everything before these positions by partition; `epoch` is the newest that
/// was counted. A partition that nothing is noted for came later, or was an earlier log's.
pub fn before(noted: &BTreeMap<u32, From>, epoch: u32) -> Before {
    let position = |(partition, from): (&u32, &From)| Position { epoch: from.epoch, partition: *partition, offset: from.offset };
    Before::new(noted.iter().map(position), epoch)
}

/// Notes that this partition begins here, unless it began before.
///
/// An error means that it must not begin: somebody else already counts from a later position on.
pub(crate) async fn note(checkpoints: &Checkpoints, version: &str, (epoch, partition, offset): (u32, u32, u64)) -> anyhow::Result<()> {
    let mut wait = Duration::from_millis(100);
    let noted = loop {
        match try_note(checkpoints, version, (epoch, partition, offset)).await {
            Ok(noted) => break noted,
            Err(error) => tracing::warn!(partition, %error, "cannot note from where a rebuild counts"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    };
    ensure!(
        (noted.epoch, noted.offset) <= (epoch, offset),
        "{version} is counted from {}:{} of partition {partition} on, but this consumer would begin at {epoch}:{offset}: was an \
         older copy of the tables brought back? `aggregator rebuild --give-up` ends the rebuild",
        noted.epoch,
        noted.offset
    );
    Ok(())
}

async fn try_note(checkpoints: &Checkpoints, version: &str, (epoch, partition, offset): (u32, u32, u64)) -> anyhow::Result<From> {
    let id = format!("{version}:{}:{partition}", checkpoints.topic);
    let put = checkpoints
        .store
        .put_item()
        .table_name(&checkpoints.tables.control)
        .item(KIND, s(kind::REBUILD_FROM))
        .item(ID, s(&id))
        .item("epoch", n(epoch))
        .item("offset", n(offset))
        .condition_expression("attribute_not_exists(#k)")
        .expression_attribute_names("#k", KIND)
        .send()
        .await;
    match put {
        Ok(_) => Ok(From { epoch, offset }),
        Err(e) if e.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => {
            let noted = read(&checkpoints.store, &checkpoints.tables, version, &checkpoints.topic).await?;
            noted.get(&partition).copied().context("what was noted is gone")
        }
        Err(e) => Err(anyhow::anyhow!("{}", DisplayErrorContext(e))),
    }
}

/// What is noted for a version, by partition.
pub(crate) async fn read(store: &Client, tables: &TableNames, version: &str, topic: &str) -> anyhow::Result<BTreeMap<u32, From>> {
    let prefix = format!("{version}:{topic}:");
    let mut noted = BTreeMap::new();
    for item in items(store, tables, &prefix).await? {
        let number = |name: &str| item.get(name).and_then(|v| v.as_n().ok())?.parse::<u64>().ok();
        let partition = item.get(ID).and_then(|v| v.as_s().ok()).and_then(|id| id.strip_prefix(&prefix)?.parse().ok());
        if let (Some(partition), Some(epoch), Some(offset)) = (partition, number("epoch"), number("offset")) {
            noted.insert(partition, From { epoch: epoch.try_into().unwrap_or(u32::MAX), offset });
        }
    }
    Ok(noted)
}

/// Removes what is noted for a version, once it is over.
pub(crate) async fn forget(store: &Client, tables: &TableNames, version: &str) -> anyhow::Result<()> {
    for mut item in items(store, tables, &format!("{version}:")).await? {
        let (Some(of), Some(id)) = (item.remove(KIND), item.remove(ID)) else { continue };
        let gone = store.delete_item().table_name(&tables.control).key(KIND, of).key(ID, id).send().await;
        gone.context("cannot write the control table")?;
    }
    Ok(())
}

/// The notes whose id begins so.
async fn items(store: &Client, tables: &TableNames, prefix: &str) -> anyhow::Result<Vec<Item>> {
    let mut pages = store
        .query()
        .table_name(&tables.control)
        .key_condition_expression("#k = :k AND begins_with(#i, :i)")
        .expression_attribute_names("#k", KIND)
        .expression_attribute_names("#i", ID)
        .expression_attribute_values(":k", s(kind::REBUILD_FROM))
        .expression_attribute_values(":i", s(prefix))
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    let mut items = Vec::new();
    while let Some(item) = pages.next().await {
        items.push(item.context("cannot read the control table")?);
    }
    Ok(items)
}
