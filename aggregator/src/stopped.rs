//! Says that a partition has stopped because most of it would be buried: in the log records, in the readiness, and in
//! the control table, where the query API reads it. What to do about it is an operator's to decide.

use crate::checkpoint::Checkpoints;
use crate::measure;
use crate::partition::Stopped;
use aws_sdk_dynamodb::Client;
use schemas::item::{ID, KIND, TableNames, kind, n, s};
use schemas::time::{format_micros, now_micros};
use service_kit::admin::Readiness;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The component of the readiness.
const COMPONENT: &str = "dead-letters";
/// Tries to note it in the control table, and the wait after each.
const TRIES: (u32, Duration) = (60, Duration::from_secs(5));

/// The partitions of this process that have stopped.
#[derive(Debug)]
pub(crate) struct StoppedPartitions {
    pub(crate) readiness: Readiness,
    pub(crate) store: Client,
    pub(crate) tables: TableNames,
    pub(crate) topic: String,
    pub(crate) epoch: u32,
    pub(crate) stopped: Mutex<BTreeMap<u32, Stopped>>,
}

impl StoppedPartitions {
    /// A partition has stopped.
    pub(crate) fn note(&self, partition: u32, stopped: &Stopped) {
        tracing::error!(
            partition,
            offset = stopped.offset,
            reason = stopped.reason,
            dead_letters = stopped.dead,
            "most records would be dead letters: the partition has stopped, and all that it has not counted stays in the log; {}",
            advice(stopped)
        );
        measure::stopped(partition, true);
        self.change(|all| {
            all.insert(partition, stopped.clone());
        });
    }

    /// A partition is worked on anew, or by somebody else.
    pub(crate) fn forget(&self, partition: u32) {
        measure::stopped(partition, false);
        self.change(|all| {
            all.remove(&partition);
        });
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u32, Stopped>)) {
        let mut all = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let had_some = !all.is_empty();
        change(&mut all);
        if all.is_empty() && !had_some {
            return;
        }
        self.readiness.set(COMPONENT, summary(&all));
    }

    /// Writes it where the query API finds it; a store that does not answer is tried again.
    pub(crate) async fn write(&self, partition: u32, stopped: &Stopped) {
        for _ in 0..TRIES.0 {
            let request = self
                .store
                .put_item()
                .table_name(&self.tables.control)
                .item(KIND, s(kind::STOPPED))
                .item(ID, s(format!("{}:{partition}", self.topic)))
                .item("epoch", n(self.epoch))
                .item("offset", n(stopped.offset))
                .item("reason", s(stopped.reason))
                .item("dead_letters", n(stopped.dead))
                .item("at", s(format_micros(now_micros())));
            match request.send().await {
                Ok(_) => return,
                Err(error) => tracing::warn!(partition, error = &error as &dyn std::error::Error, "cannot note that the partition stopped"),
            }
            tokio::time::sleep(TRIES.1).await;
        }
    }
}

/// Which of these partitions of a topic is stopped and was not committed beyond since.
pub(crate) async fn any(store: &Client, tables: &TableNames, (topic, partitions): (&str, &BTreeSet<u32>)) -> anyhow::Result<Option<u32>> {
    let checkpoints = Checkpoints { store: store.clone(), tables: tables.clone(), topic: topic.to_owned() };
    let answer = store
        .query()
        .table_name(&tables.control)
        .key_condition_expression("#k = :k AND begins_with(#i, :i)")
        .expression_attribute_names("#k", KIND)
        .expression_attribute_names("#i", ID)
        .expression_attribute_values(":k", s(kind::STOPPED))
        .expression_attribute_values(":i", s(format!("{topic}:")))
        .consistent_read(true)
        .send()
        .await?;
    for item in answer.items() {
        let number = |name: &str| item.get(name).and_then(|v| v.as_n().ok()?.parse::<u64>().ok());
        let id = item.get(ID).and_then(|v| v.as_s().ok());
        let partition: Option<u32> = id.and_then(|id| id.strip_prefix(topic)?.strip_prefix(':')?.parse().ok());
        let (Some(partition), Some(epoch), Some(offset)) = (partition, number("epoch"), number("offset")) else { continue };
        if !partitions.contains(&partition) {
            continue;
        }
        let checkpoint = checkpoints.read(partition).await?;
        if checkpoint.is_none_or(|checkpoint| (u64::from(checkpoint.epoch), checkpoint.offset) < (epoch, offset)) {
            return Ok(Some(partition));
        }
    }
    Ok(None)
}

fn summary(all: &BTreeMap<u32, Stopped>) -> Result<(), String> {
    let Some((partition, first)) = all.first_key_value() else { return Ok(()) };
    let others = if all.len() > 1 { format!(" and {} more", all.len() - 1) } else { String::new() };
    Err(format!(
        "partition {partition}{others} stopped before offset {}: {} records died within a minute ({}), more than half of them; {}",
        first.offset,
        first.dead,
        first.reason,
        advice(first)
    ))
}

/// What an operator can do.
fn advice(stopped: &Stopped) -> &'static str {
    match stopped.reason {
        "undecodable" => {
            "look at the newest dead letters; mend what was wrong (a schema registry's address, another producer, an older aggregator) and \
             restart, or restart with DEAD_LETTER_LIMIT=0 to bury them"
        }
        _ => "look at the newest dead letters; mend what was wrong and restart, or restart with DEAD_LETTER_LIMIT=0 to bury them",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readiness_says_which_why_and_what_to_do() {
        assert_eq!(summary(&BTreeMap::new()), Ok(()));
        let stopped = |offset| Stopped { offset, reason: "undecodable", dead: 1_001 };
        let said = summary(&BTreeMap::from([(3, stopped(70)), (5, stopped(9))])).expect_err("not ready");
        for part in ["partition 3 and 1 more", "offset 70", "1001", "undecodable", "DEAD_LETTER_LIMIT=0"] {
            assert!(said.contains(part), "{said}");
        }
    }
}
