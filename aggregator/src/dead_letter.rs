//! Publishes what cannot be processed, whole and with the reason, to the dead-letter topic.
//!
//! A dead letter's key is its position, so a repeat replaces it. It is somewhat larger than its original: where that
//! makes it larger than the log takes, it is cut and says so, since a partition must not wait for ever behind it.

use crate::announce::{TooLarge, publish_until_acknowledged};
use crate::partition::DeadReason;
use bytes::Bytes;
use event_log::{Log, LogRecord, Position, Record};
use schemas::time::{format_micros, now_micros};
use std::sync::Arc;

pub use schemas::dead_letter::header;

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
        (header::AT.to_owned(), text(&format_micros(now_micros()))),
        (header::KEY.to_owned(), record.key.clone()),
    ]);
    Record { key: text(&position), value: record.value.clone(), headers }
}

/// Publishes until acknowledged, cut where the log does not take it whole.
pub async fn publish(log: &Arc<dyn Log>, topic: &str, mut letter: Record) {
    let whole = letter.value.len();
    while let Err(TooLarge { record, bytes }) = publish_until_acknowledged(log, topic, letter).await {
        tracing::error!(topic, bytes, "a dead letter is larger than the log takes: it is cut, the original stays in its topic");
        letter = record;
        letter.headers.retain(|(name, _)| name != header::CUT);
        if letter.value.is_empty() {
            // What else is large came with the original.
            letter.headers.retain(|(name, _)| name.starts_with("dead-") && name != header::KEY);
        }
        letter.value = letter.value.slice(..letter.value.len() / 2);
        letter.headers.push((header::CUT.to_owned(), whole.to_string().into()));
    }
}
