//! Publishes the new totals of an agent's day to the compacted topic that the live tables read.

use event_log::{AppendError, Log, Record};
use schemas::AgentTotals;
use schemas::codec::{WireForm, encode_totals};
use schemas::item::{MetricKey, Period, Subject};
use schemas::rollup::Rollup;
use schemas::time::now_micros;
use std::sync::Arc;
use std::time::Duration;

/// The record of a day item's totals in the metrics table of that generation; `None` for any other item.
pub fn totals_record(key: &MetricKey, rollup: &Rollup, generation: u32, form: WireForm) -> Option<Record> {
    let (Subject::Agent(agent), Period::Day(day)) = (&key.subject, key.period) else { return None };
    let totals = AgentTotals::of(agent, day, rollup, generation, now_micros());
    Some(Record { key: totals.key().into(), value: encode_totals(&totals, form).into(), headers: Vec::new() })
}

/// Publishes totals until acknowledged.
pub(crate) async fn announce(log: &Arc<dyn Log>, topic: &str, record: Record) {
    if let Err(TooLarge { bytes, .. }) = publish_until_acknowledged(log, topic, record).await {
        // Totals have some 300 bytes; readers find them in the store.
        tracing::error!(topic, bytes, "totals are larger than the log takes");
    }
}

/// Publishes until the log acknowledges: nothing is committed before, so there is nothing else to do but wait. Waiting
/// never helps a record that is larger than the log takes: that one comes back, with its size.
pub(crate) async fn publish_until_acknowledged(log: &Arc<dyn Log>, topic: &str, record: Record) -> Result<(), TooLarge> {
    let mut wait = Duration::from_millis(50);
    loop {
        let outcome = match log.append(topic, record.clone()) {
            Ok(acknowledgement) => acknowledgement.await.map(drop),
            Err(e) => Err(e),
        };
        match outcome {
            Ok(()) => return Ok(()),
            Err(AppendError::TooLarge(bytes)) => return Err(TooLarge { record, bytes }),
            Err(AppendError::BufferFull) => {}
            Err(error) => tracing::warn!(topic, %error, "the log did not take a record, trying again"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
}

/// A record that the log will never take.
#[derive(Debug)]
pub(crate) struct TooLarge {
    pub(crate) record: Record,
    pub(crate) bytes: usize,
}
