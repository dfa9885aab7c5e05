//! Hands encoded events to the log, in order, and waits for all acknowledgements together, within bounded time.
//! A receipt exists only when the log has every event durably.

use crate::metrics::{PUBLISH_DURATION, PUBLISHED};
use bytes::Bytes;
use event_log::{AppendError, Log, Position, Receipt, Record};
use metrics::{counter, histogram};
use schemas::AgentEvent;
use schemas::codec::{WireForm, encode_event};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::time::{timeout, timeout_at};

/// Header that names the log's epoch, decimal.
pub const EPOCH_HEADER: &str = "epoch";
/// Header that carries the W3C trace context.
pub const TRACEPARENT_HEADER: &str = "traceparent";
/// Header that carries the request's id.
pub const REQUEST_ID_HEADER: &str = "request-id";

/// Why not every event of a request is in the log. Some may be: a retry with the same ids is counted once.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    /// The log refused or lost one.
    #[error("the log did not take an event")]
    Append(#[from] AppendError),
    /// Nothing is taken for a moment; nothing was appended.
    #[error("events are held")]
    Held,
    /// The log was silent for too long.
    #[error("the log did not acknowledge within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// An event as the log will hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// The agent's id: one agent's events stay in order.
    pub(crate) key: Bytes,
    /// Avro.
    pub(crate) value: Bytes,
}

impl Encoded {
    /// Encodes an event in that wire form.
    pub(crate) fn of(event: &AgentEvent, form: WireForm) -> Self {
        Self { key: Bytes::copy_from_slice(event.agent_id.as_bytes()), value: encode_event(event, form).into() }
    }
}

/// What goes along with every record of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    /// The request's id.
    pub(crate) request_id: Option<String>,
    /// The request's trace context.
    pub(crate) traceparent: Option<String>,
}

/// Appends to the events topic.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    log: Arc<dyn Log>,
    topic: String,
    epoch: u32,
    within: Duration,
    /// Read by each request that publishes; written by who holds them.
    gate: Arc<RwLock<()>>,
}

/// No event is taken while it lives.
#[derive(Debug)]
#[must_use = "events are taken again when it is dropped"]
pub struct Held(#[expect(dead_code, reason = "what counts is that it is held")] OwnedRwLockWriteGuard<()>);

impl Publisher {
    /// A publisher to that topic of that log.
    pub(crate) fn new(log: Arc<dyn Log>, topic: String, epoch: u32, within: Duration) -> Self {
        Self { log, topic, epoch, within, gate: Arc::default() }
    }

    /// Appends all events in order; `None` for no events.
    pub(crate) async fn publish(&self, events: Vec<Encoded>, origin: &Origin) -> Result<Option<Receipt>, PublishError> {
        // Where somebody waits to hold, nobody comes in any more.
        let _open = self.gate.try_read().map_err(|_| PublishError::Held)?;
        let started = Instant::now();
        let records = events.into_iter().map(|Encoded { key, value }| (key, value)).collect();
        let acknowledged = self.log.append_many(&self.topic, records, &self.headers(origin))?;
        let positions = timeout(self.within, acknowledged);
        let positions = positions.await.map_err(|_| PublishError::TimedOut(self.within))??;
        counter!(PUBLISHED).increment(positions.len() as u64);
        histogram!(PUBLISH_DURATION).record(started.elapsed().as_secs_f64());
        Ok(Receipt::of(positions.into_iter().map(|(partition, offset)| Position { epoch: self.epoch, partition, offset })))
    }

    /// The topic of the events.
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    /// The log's epoch.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Appends records to a topic and waits for all of them; partition and offset of each, or why it has none.
    pub(crate) async fn append_all(&self, topic: &str, records: Vec<Record>) -> Vec<Result<(u32, u64), PublishError>> {
        let Ok(_open) = self.gate.try_read() else { return records.iter().map(|_| Err(PublishError::Held)).collect() };
        let appended: Vec<_> = records.into_iter().map(|record| self.log.append(topic, record)).collect();
        let until = tokio::time::Instant::now() + self.within;
        let mut outcomes = Vec::with_capacity(appended.len());
        for acknowledgement in appended {
            outcomes.push(match acknowledgement {
                Ok(acknowledgement) => match timeout_at(until, acknowledgement).await {
                    Ok(outcome) => outcome.map_err(PublishError::from),
                    Err(_) => Err(PublishError::TimedOut(self.within)),
                },
                Err(error) => Err(error.into()),
            });
        }
        outcomes
    }

    /// Waits for the requests that publish now and lets no other begin.
    pub(crate) async fn hold(&self) -> Held {
        Held(Arc::clone(&self.gate).write_owned().await)
    }

    /// Whether the log can take events now.
    pub(crate) async fn check(&self) -> Result<(), String> {
        self.log.check().await.map_err(|e| e.to_string())
    }

    fn headers(&self, origin: &Origin) -> Vec<(String, Bytes)> {
        let mut headers = vec![(EPOCH_HEADER.to_owned(), Bytes::from(self.epoch.to_string()))];
        let optional = [(TRACEPARENT_HEADER, &origin.traceparent), (REQUEST_ID_HEADER, &origin.request_id)];
        headers.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Bytes::from(value.clone()?)))));
        headers
    }
}
