//! Publishes what cannot be processed, whole and with the reason, to the dead-letter topic.
//!
//! A dead letter's key is its position, so a repeat replaces it.

use crate::partition::DeadReason;
use bytes::Bytes;
use event_log::{Log, LogRecord, Position, Record};
use std::sync::Arc;

/// Headers that a dead letter carries besides the original's.
pub mod header {
    /// Why it could not be processed.
    pub const REASON: &str = "dead-reason";
    /// At which step.
    pub const STAGE: &str = "dead-stage";
    /// Where it was: `<epoch>-<partition>-<offset>`.
    pub const POSITION: &str = "dead-position";
    /// More about the reason.
    pub const DETAIL: &str = "dead-detail";
    /// The original's key.
    pub const KEY: &str = "dead-key";
}

/// The dead letter of a record.
pub fn dead_letter(record: &LogRecord, epoch: u32, reason: &DeadReason) -> Record {
    let position = Position { epoch, partition: record.partition, offset: record.offset }.to_string();
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let mut headers = record.headers.clone();
    headers.extend([
        (header::REASON.to_owned(), text(reason.reason)),
        (header::STAGE.to_owned(), text(reason.stage)),
        (header::POSITION.to_owned(), text(&position)),
        (header::DETAIL.to_owned(), text(&reason.detail)),
        (header::KEY.to_owned(), record.key.clone()),
    ]);
    Record { key: text(&position), value: record.value.clone(), headers }
}

/// Publishes until acknowledged.
pub async fn publish(log: Arc<dyn Log>, topic: String, record: Record) {
    crate::announce::publish_until_acknowledged(&log, &topic, record).await;
}
