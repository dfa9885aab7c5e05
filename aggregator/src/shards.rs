//! How the raw events of very busy agents are spread over several keys: plans in the control table.
//!
//! A plan holds from its time on, by the event's own timestamp, and is never edited; it is set at least 15
//! minutes ahead, so that every process knows it before it counts.

use aws_sdk_dynamodb::Client;
use schemas::item::{KIND, ShardPlan, TableNames, kind, s};
use service_kit::store::patient;
use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often plans are read again.
const REFRESH: Duration = Duration::from_secs(60);

/// The plans of all agents, kept fresh in the background.
#[derive(Clone, Debug, Default)]
pub struct ShardPlans(Arc<RwLock<HashMap<String, Vec<ShardPlan>>>>);

impl ShardPlans {
    /// Reads the plans and keeps reading them until `shutdown`.
    pub async fn start(store: Client, tables: TableNames, shutdown: CancellationToken) -> anyhow::Result<Self> {
        let plans = Self::default();
        plans.replace(read(&patient(&store), &tables).await?);
        let kept = plans.clone();
        tokio::spawn(async move {
            while shutdown.run_until_cancelled(tokio::time::sleep(REFRESH)).await.is_some() {
                match read(&store, &tables).await {
                    Ok(new) => kept.replace(new),
                    Err(error) => tracing::warn!(error = %error, "cannot read the shard plans, keeping the last ones"),
                }
            }
        });
        Ok(plans)
    }

    /// The plans of one agent.
    pub fn of(&self, agent_id: &str) -> Vec<ShardPlan> {
        self.0.read().map(|plans| plans.get(agent_id).cloned().unwrap_or_default()).unwrap_or_default()
    }

    fn replace(&self, new: HashMap<String, Vec<ShardPlan>>) {
        if let Ok(mut plans) = self.0.write() {
            *plans = new;
        }
    }
}

pub(crate) async fn read(store: &Client, tables: &TableNames) -> anyhow::Result<HashMap<String, Vec<ShardPlan>>> {
    let mut plans: HashMap<String, Vec<ShardPlan>> = HashMap::new();
    let mut pages = store
        .query()
        .table_name(&tables.control)
        .key_condition_expression("#k = :k")
        .expression_attribute_names("#k", KIND)
        .expression_attribute_values(":k", s(kind::SHARD_PLAN))
        .consistent_read(true)
        .into_paginator()
        .items()
        .send();
    while let Some(item) = pages.next().await {
        let item = item?;
        let number = |name: &str| item.get(name).and_then(|v| v.as_n().ok()).and_then(|v| v.parse::<i64>().ok());
        let agent = item.get("agent_id").and_then(|v| v.as_s().ok());
        if let (Some(agent), Some(from), Some(shards)) = (agent, number("from"), number("shards"))
            && let Ok(shards) = u32::try_from(shards)
        {
            plans.entry(agent.clone()).or_default().push(ShardPlan { from, shards });
        }
    }
    Ok(plans)
}
