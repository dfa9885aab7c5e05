//! Appends records: `acks=all`, idempotent, acknowledged by the delivery report and by nothing else.

use super::config::KafkaConfig;
use super::record;
use super::report::{self, Report};
use super::unavailable;
use crate::{Acknowledgement, Acknowledgements, AppendError, LogError, Record};
use bytes::Bytes;
use metrics::{Counter, Histogram, counter, histogram};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Statistics};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::oneshot;

#[derive(Clone)]
pub(super) struct Producer(Arc<Inner>);

struct Inner {
    config: Arc<KafkaConfig>,
    /// Replaced when librdkafka declares it unusable (a fatal error of the idempotent producer).
    client: RwLock<Arc<Client>>,
    room: Arc<Room>,
    meters: RwLock<HashMap<String, Meters>>,
}

type Client = ThreadedProducer<Deliveries>;

#[derive(Clone)]
struct Meters {
    appended: Counter,
    duration: Histogram,
}

impl Producer {
    pub(super) fn new(config: &Arc<KafkaConfig>) -> Result<Self, LogError> {
        let client = RwLock::new(create(config).map_err(unavailable)?);
        let room = Arc::new(Room {
            records: AtomicUsize::new(usize::try_from(config.append_buffer_records).unwrap_or(usize::MAX)),
            bytes: AtomicUsize::new(usize::try_from(config.append_buffer_kib).unwrap_or(usize::MAX).saturating_mul(1_024)),
        });
        Ok(Self(Arc::new(Inner { config: Arc::clone(config), client, room, meters: RwLock::default() })))
    }

    pub(super) fn append(&self, topic: &str, record: Record) -> Result<Acknowledgement, AppendError> {
        let all = self.append_many(topic, vec![(record.key, record.value)], &record.headers)?;
        Ok(Acknowledgement::new(async move {
            let position = all.await?.first().copied();
            position.ok_or_else(|| AppendError::NotAcknowledged("the broker named no position".into()))
        }))
    }

    /// They take their place in the buffer together, and are told of together: when the last of them was reported.
    pub(super) fn append_many(
        &self,
        topic: &str,
        records: Vec<(Bytes, Bytes)>,
        headers: &[(String, Bytes)],
    ) -> Result<Acknowledgements, AppendError> {
        if records.is_empty() {
            return Ok(Acknowledgements::new(async { Ok(Vec::new()) }));
        }
        let header_bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let sizes = records.iter().map(|(key, value)| key.len() + value.len());
        let (bytes, largest) = (sizes.clone().sum::<usize>() + header_bytes * records.len(), sizes.max().unwrap_or(0));
        let place = self.0.room.take(records.len(), bytes).ok_or(AppendError::BufferFull)?;
        let (sender, report) = oneshot::channel();
        let batch = Arc::new(Batch {
            left: AtomicUsize::new(records.len()),
            outcome: Mutex::new((Ok(Vec::with_capacity(records.len())), Some(sender))),
            meters: self.0.meters(topic),
            started: Instant::now(),
            _place: place,
        });
        let (client, headers) = (self.0.client(), (!headers.is_empty()).then(|| record::to_headers(headers)));
        for (key, value) in &records {
            let mut native = BaseRecord::with_opaque_to(topic, Arc::clone(&batch)).key(key.as_ref()).payload(value.as_ref());
            native.headers = headers.clone();
            client.send(native).map_err(|(error, _)| self.0.failed(&error, largest))?;
        }

        let this = Arc::clone(&self.0);
        Ok(Acknowledgements::new(async move {
            match report.await {
                Ok(Ok(positions)) => {
                    // After a retry the broker may only say that it has a record.
                    let positions: Option<Vec<_>> = positions.into_iter().collect();
                    positions.ok_or_else(|| AppendError::NotAcknowledged("the broker named no position".into()))
                }
                Ok(Err(error)) => Err(this.failed(&error, largest)),
                Err(_) => Err(AppendError::NotAcknowledged("the producer was closed".into())),
            }
        }))
    }
}

impl Inner {
    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn failed(&self, error: &KafkaError, size: usize) -> AppendError {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => AppendError::BufferFull,
            Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => AppendError::TooLarge(size),
            Some(RDKafkaErrorCode::Fatal) => {
                self.replace();
                AppendError::NotAcknowledged(error.to_string())
            }
            _ => AppendError::NotAcknowledged(error.to_string()),
        }
    }

    /// A new client in place of one that is beyond repair. Many records may report the same failure: only the first acts.
    fn replace(&self) {
        let mut client = self.client.write().unwrap_or_else(PoisonError::into_inner);
        let Some((code, reason)) = client.client().fatal_error() else { return };
        tracing::error!(%code, reason, "the kafka producer failed for good: starting another");
        match create(&self.config) {
            Ok(new) => {
                let old = std::mem::replace(&mut *client, new);
                drop(client);
                // Closing it waits for what is under way, which whoever noticed need not.
                drop(std::thread::spawn(move || drop(old)));
            }
            Err(error) => tracing::error!(%error, "no other kafka producer could be started"),
        }
    }

    /// Looked up once per topic: the registry's look-up allocates.
    fn meters(&self, topic: &str) -> Meters {
        if let Some(meters) = self.meters.read().unwrap_or_else(PoisonError::into_inner).get(topic) {
            return meters.clone();
        }
        let meters = Meters {
            appended: counter!("log_appended_records_total", "topic" => topic.to_owned()),
            duration: histogram!("log_produce_duration_seconds", "topic" => topic.to_owned()),
        };
        self.meters.write().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned(), meters.clone());
        meters
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("config", &self.0.config).finish_non_exhaustive()
    }
}

fn create(config: &KafkaConfig) -> Result<Arc<Client>, KafkaError> {
    config.producer().create_with_context(Deliveries).map(Arc::new)
}

/// What is left of the buffer. librdkafka has a limit of its own, which is wider: it gives room back some time after it
/// has reported a delivery, and whoever was acknowledged may append again.
struct Room {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

/// A place of some records in the buffer, given back when dropped.
struct Place {
    room: Arc<Room>,
    records: usize,
    bytes: usize,
}

impl Room {
    fn take(self: &Arc<Self>, records: usize, bytes: usize) -> Option<Place> {
        take(&self.records, records)?;
        if take(&self.bytes, bytes).is_none() {
            self.records.fetch_add(records, Ordering::AcqRel);
            return None;
        }
        Some(Place { room: Arc::clone(self), records, bytes })
    }
}

fn take(left: &AtomicUsize, wanted: usize) -> Option<usize> {
    left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(wanted)).ok()
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.bytes.fetch_add(self.bytes, Ordering::AcqRel);
        self.room.records.fetch_add(self.records, Ordering::AcqRel);
    }
}

/// Positions of what was reported so far; `None` where the broker has a record but did not say where.
type Reported = Result<Vec<Option<(u32, u64)>>, KafkaError>;

/// Records under way together. Goes through librdkafka with each of them.
struct Batch {
    /// Records that were not reported yet.
    left: AtomicUsize,
    outcome: Mutex<(Reported, Option<oneshot::Sender<Reported>>)>,
    meters: Meters,
    started: Instant,
    /// Kept until the last was reported.
    _place: Place,
}

/// Takes the delivery reports, on the producer's thread.
struct Deliveries;

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        report::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Report.error(error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        let mut outcome = batch.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(message) => {
                batch.meters.appended.increment(1);
                if let Ok(positions) = &mut outcome.0 {
                    positions.push(u32::try_from(message.partition()).ok().zip(u64::try_from(message.offset()).ok()));
                }
            }
            Err((error, _)) if outcome.0.is_ok() => outcome.0 = Err(error.clone()),
            Err(_) => {}
        }
        if batch.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let reported = std::mem::replace(&mut outcome.0, Ok(Vec::new()));
        let sender = outcome.1.take();
        drop(outcome);
        if reported.is_ok() {
            batch.meters.duration.record(batch.started.elapsed());
        }
        // First the room, then the news of it: whoever was acknowledged may append again.
        drop(batch);
        if let Some(sender) = sender {
            // Whoever appended may not wait for it any more.
            drop(sender.send(reported));
        }
    }
}
