//! Which partitions have begun anew since numbers were lowered, by a note of each in the control table: from then on nobody
//! counts with a memory of what the items held before.

use crate::checkpoint::Checkpoints;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use schemas::item::{ID, KIND, TableNames, kind, n, s};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the aggregators have to forget goes by numbers ([`service_kit::metrics_tables::MetricsTables::forget`]).
const FORGOTTEN: &str = "forgotten";

/// Notes that a partition begins with an empty memory, until that is noted.
pub(crate) async fn note(checkpoints: &Checkpoints, partition: u32, forgotten: u32) {
    let mut wait = Duration::from_millis(100);
    while let Err(error) = try_note(checkpoints, partition, forgotten).await {
        tracing::warn!(partition, %error, "cannot note that the partition begins anew");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

async fn try_note(checkpoints: &Checkpoints, partition: u32, forgotten: u32) -> anyhow::Result<()> {
    let put = checkpoints
        .store
        .put_item()
        .table_name(&checkpoints.tables.control)
        .item(KIND, s(kind::BEGUN))
        .item(ID, s(format!("{}:{partition}", checkpoints.topic)))
        .item(FORGOTTEN, n(forgotten))
        .condition_expression("attribute_not_exists(#k) OR #f < :f")
        .expression_attribute_names("#k", KIND)
        .expression_attribute_names("#f", FORGOTTEN)
        .expression_attribute_values(":f", n(forgotten))
        .send()
        .await;
    match put {
        Ok(_) => Ok(()),
        Err(e) if e.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
        Err(e) => Err(anyhow::anyhow!("{}", DisplayErrorContext(e))),
    }
}

/// What each partition of a topic has forgotten.
pub(crate) async fn read(store: &Client, tables: &TableNames, topic: &str) -> anyhow::Result<BTreeMap<u32, u32>> {
    let mut pages = store
        .query()
        .table_name(&tables.control)
        .key_condition_expression("#k = :k")
        .expression_attribute_names("#k", KIND)
        .expression_attribute_values(":k", s(kind::BEGUN))
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    let mut begun = BTreeMap::new();
    while let Some(item) = pages.next().await {
        let item = item.map_err(|e| anyhow::anyhow!("{}", DisplayErrorContext(e)))?;
        let id = item.get(ID).and_then(|v| v.as_s().ok());
        let partition: Option<u32> = id.and_then(|id| id.strip_prefix(topic)?.strip_prefix(':')?.parse().ok());
        let forgotten: Option<u32> = item.get(FORGOTTEN).and_then(|v| v.as_n().ok()?.parse().ok());
        begun.extend(partition.zip(forgotten));
    }
    Ok(begun)
}
