//! The dead letters, which only the log has.

use crate::archive::{ArchiveWriter, Content};
use event_log::{Log, LogError, LogRecord, ReadFrom};
use schemas::export::{ExportedRecord, record_to_avro};
use service_kit::log::Topics;
use std::sync::Arc;

/// One beyond the newest, by partition.
pub(super) async fn ends(log: &Arc<dyn Log>) -> Result<Vec<u64>, LogError> {
    let topic = Topics::default().dead;
    let partitions = match log.partitions(&topic).await {
        Err(LogError::UnknownTopic(_)) => 0,
        answer => answer?,
    };
    let mut ends = Vec::new();
    for partition in 0..partitions {
        ends.push(log.bounds(&topic, partition).await?.end);
    }
    Ok(ends)
}

/// Writes those before these ends.
pub(super) async fn write(archive: &mut ArchiveWriter, log: &Arc<dyn Log>, ends: &[u64]) -> anyhow::Result<()> {
    let mut rows = archive.rows(Content::DeadLetters);
    if ends.iter().any(|end| *end > 0) {
        let mut reader = Arc::clone(log).read(&Topics::default().dead, ReadFrom::Start).await?;
        while !reader.is_caught_up() {
            for record in reader.next().await? {
                if ends.get(record.partition as usize).is_some_and(|end| record.offset < *end) {
                    rows.push("dead_letters", record_to_avro(&exported(record)))?;
                }
            }
        }
    }
    rows.finish()
}

fn exported(record: LogRecord) -> ExportedRecord {
    let headers = record.headers.into_iter().map(|(name, value)| (name, value.to_vec())).collect();
    ExportedRecord { key: record.key.to_vec(), value: record.value.to_vec(), headers }
}
