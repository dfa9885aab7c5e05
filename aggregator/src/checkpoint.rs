//! Whether the log is still the one that was committed to, and where to go on in it.
//!
//! The control table keeps per partition the epoch, the log's id, the last committed position and that
//! record's append time. A log that does not hold that record with that time (and has not merely trimmed it)
//! is another log: going on would count wrong, so the aggregator refuses.

use aws_sdk_dynamodb::Client;
use event_log::{Assignment, Log, LogError};
use schemas::item::{ID, KIND, TableNames, WRITE_UNITS, WRITE_UNITS_RECORDS, WRITE_UNITS_SINCE, kind, n, s};
use std::sync::Arc;

/// The last committed position of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Epoch of the log.
    pub epoch: u32,
    /// The log's own id.
    pub log_id: String,
    /// The last committed position's offset.
    pub offset: u64,
    /// When that record was appended, ms since the epoch.
    pub appended_at_ms: i64,
    /// What the partition has cost.
    pub spent: Spent,
}

/// What counting a partition's records has cost, over all processes that did. Only told, never relied on: what a process
/// spent after its last checkpoint is missing where it was killed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Write units, as the store reported them.
    pub write_units: u64,
    /// Records finished for them.
    pub records: u64,
    /// Since when both are counted, ms since the epoch; 0 where nothing is.
    pub since_ms: i64,
}

impl Spent {
    /// With what came to it.
    pub fn plus(self, write_units: u64, records: u64, now_ms: i64) -> Self {
        Self {
            write_units: self.write_units + write_units,
            records: self.records + records,
            since_ms: if self.since_ms == 0 { now_ms } else { self.since_ms },
        }
    }
}

/// Why the aggregator must not go on with this log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The epoch went back.
    #[error("{topic}/{partition}: LOG_EPOCH is {configured}, but epoch {counted} was counted already; set LOG_EPOCH={counted} or higher")]
    EpochWentBack {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// What is configured.
        configured: u32,
        /// What was counted.
        counted: u32,
    },
    /// The log is not the one that was committed to.
    #[error(
        "{topic}/{partition}: this is not the log that was counted before ({why}); \
         if the topic was created anew on purpose, raise LOG_EPOCH above {epoch} on the gateways and aggregators"
    )]
    AnotherLog {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The epoch that was counted.
        epoch: u32,
        /// What differs.
        why: String,
    },
    /// The log could not answer, or has trimmed what was not counted.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The control table could not answer.
    #[error("the control table did not answer")]
    Store(#[source] anyhow::Error),
}

impl StartError {
    /// Whether trying again later can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Log(e) => e.is_retryable(),
            Self::Store(_) => true,
            Self::EpochWentBack { .. } | Self::AnotherLog { .. } => false,
        }
    }
}

/// The checkpoints of one topic.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    /// The store.
    pub store: Client,
    /// Its tables.
    pub tables: TableNames,
    /// The topic.
    pub topic: String,
}

impl Checkpoints {
    /// The checkpoint of a partition.
    pub async fn read(&self, partition: u32) -> anyhow::Result<Option<Checkpoint>> {
        let answer = self
            .store
            .get_item()
            .table_name(&self.tables.control)
            .key(KIND, s(kind::CHECKPOINT))
            .key(ID, s(self.id(partition)))
            .consistent_read(true)
            .send()
            .await?;
        Ok(answer.item.and_then(|item| {
            let number = |name: &str| item.get(name).and_then(|v| v.as_n().ok()).and_then(|v| v.parse::<i64>().ok());
            let amount = |name: &str| number(name).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            Some(Checkpoint {
                epoch: u32::try_from(number("epoch")?).ok()?,
                log_id: item.get("log_id")?.as_s().ok()?.clone(),
                offset: u64::try_from(number("offset")?).ok()?,
                appended_at_ms: number("appended_at_ms")?,
                spent: Spent {
                    write_units: amount(WRITE_UNITS),
                    records: amount(WRITE_UNITS_RECORDS),
                    since_ms: number(WRITE_UNITS_SINCE).unwrap_or(0),
                },
            })
        }))
    }

    /// Writes a checkpoint, unless a later one is there already.
    pub async fn write(&self, partition: u32, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let outcome = self
            .store
            .put_item()
            .table_name(&self.tables.control)
            .item(KIND, s(kind::CHECKPOINT))
            .item(ID, s(self.id(partition)))
            .item("epoch", n(checkpoint.epoch))
            .item("log_id", s(&checkpoint.log_id))
            .item("offset", n(checkpoint.offset))
            .item("appended_at_ms", n(checkpoint.appended_at_ms))
            .item(WRITE_UNITS, n(checkpoint.spent.write_units))
            .item(WRITE_UNITS_RECORDS, n(checkpoint.spent.records))
            .item(WRITE_UNITS_SINCE, n(checkpoint.spent.since_ms))
            .condition_expression("attribute_not_exists(#k) OR #e < :e OR (#e = :e AND #o < :o)")
            .expression_attribute_names("#k", KIND)
            .expression_attribute_names("#e", "epoch")
            .expression_attribute_names("#o", "offset")
            .expression_attribute_values(":e", n(checkpoint.epoch))
            .expression_attribute_values(":o", n(checkpoint.offset))
            .send()
            .await;
        match outcome {
            Ok(_) => Ok(()),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Notes that events were lost with the operator's consent.
    async fn record_loss(&self, partition: u32, from: u64, to: u64) -> anyhow::Result<()> {
        self.store
            .put_item()
            .table_name(&self.tables.control)
            .item(KIND, s(kind::ACCEPTED_LOSS))
            .item(ID, s(format!("{}:{from}", self.id(partition))))
            .item("from", n(from))
            .item("to", n(to))
            .item("at", s(schemas::time::format_micros(schemas::time::now_micros())))
            .send()
            .await?;
        Ok(())
    }

    fn id(&self, partition: u32) -> String {
        format!("{}:{partition}", self.topic)
    }
}

/// Where to begin a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The first offset to read. At or before the group's committed offset: the store is what counts, and it is
    /// known to hold only what its own checkpoint says. What it holds beyond is recognised as a replay.
    pub offset: u64,
    /// Whether the store knows nothing of this log yet: what the group committed was for another store or another
    /// log, and has to be taken back, so that receipts do not claim it.
    pub is_anew: bool,
    /// What the partition has cost until here.
    pub spent: Spent,
}

/// Where to begin an assigned partition, or why not to.
pub async fn starting_offset(
    log: &Arc<dyn Log>,
    checkpoints: &Checkpoints,
    assignment: Assignment,
    epoch: u32,
    accept_loss: bool,
) -> Result<Start, StartError> {
    let (topic, partition) = (checkpoints.topic.clone(), assignment.partition);
    let bounds = log.bounds(&topic, partition).await?;
    let checkpoint = checkpoints.read(partition).await.map_err(StartError::Store)?;
    if let Some(checkpoint) = &checkpoint {
        if checkpoint.epoch > epoch {
            return Err(StartError::EpochWentBack { topic, partition, configured: epoch, counted: checkpoint.epoch });
        }
        if checkpoint.epoch == epoch
            && let Some(why) = difference(log, &topic, partition, checkpoint).await?
        {
            return Err(StartError::AnotherLog { topic, partition, epoch, why });
        }
    }
    let counted = checkpoint.as_ref().filter(|c| c.epoch == epoch).map(|c| c.offset + 1);
    if let Some(committed) = assignment.committed.filter(|c| *c > bounds.end && checkpoint.as_ref().is_none_or(|c| c.epoch == epoch)) {
        return Err(LogError::BeyondEnd { topic, partition, committed, end: bounds.end }.into());
    }
    let spent = checkpoint.as_ref().map_or_else(Spent::default, |checkpoint| checkpoint.spent);
    match (counted, assignment.committed) {
        // A group whose commits are gone goes on behind the checkpoint. A checkpoint behind the commits is a crash's
        // (it is written every 2 s) or an older copy of the store: what it says is where the store is sure.
        (Some(counted), committed) => {
            let known = committed.unwrap_or(counted);
            if known < bounds.start {
                accept_loss_of(checkpoints, partition, known, bounds.start, accept_loss).await?;
            }
            Ok(Start { offset: counted.min(known).max(bounds.start), is_anew: false, spent })
        }
        // A new epoch, a new or lost store: everything that the log has.
        (None, committed) => {
            let is_lost_store = checkpoint.is_none() && committed.is_some_and(|c| c > 0);
            if is_lost_store && bounds.start > 0 {
                accept_loss_of(checkpoints, partition, 0, bounds.start, accept_loss).await?;
            }
            Ok(Start { offset: bounds.start, is_anew: committed.is_some_and(|c| c > bounds.start), spent })
        }
    }
}

/// Goes on without events that the log no longer has only where the operator says so, and notes it.
async fn accept_loss_of(checkpoints: &Checkpoints, partition: u32, from: u64, to: u64, accept_loss: bool) -> Result<(), StartError> {
    if !accept_loss {
        return Err(LogError::Trimmed { topic: checkpoints.topic.clone(), partition, committed: from, start: to }.into());
    }
    tracing::error!(partition, from, to, "going on without events that were trimmed before this store counted them");
    checkpoints.record_loss(partition, from, to).await.map_err(StartError::Store)
}

/// What tells this log from the one of the checkpoint.
pub(crate) async fn difference(
    log: &Arc<dyn Log>,
    topic: &str,
    partition: u32,
    checkpoint: &Checkpoint,
) -> Result<Option<String>, LogError> {
    let id = log.id().await?;
    if id != checkpoint.log_id {
        return Ok(Some(format!("its id is {id}, not {}", checkpoint.log_id)));
    }
    let bounds = log.bounds(topic, partition).await?;
    if checkpoint.offset >= bounds.end {
        return Ok(Some(format!("it ends at {}, before the counted offset {}", bounds.end, checkpoint.offset)));
    }
    if checkpoint.offset < bounds.start {
        return Ok(None);
    }
    match log.record_at(topic, partition, checkpoint.offset).await? {
        Some(record) if record.appended_at_ms == checkpoint.appended_at_ms => Ok(None),
        Some(record) => Ok(Some(format!(
            "offset {} was appended at {} ms, not at {} ms",
            checkpoint.offset, record.appended_at_ms, checkpoint.appended_at_ms
        ))),
        None => Ok(Some(format!("offset {} is missing", checkpoint.offset))),
    }
}
