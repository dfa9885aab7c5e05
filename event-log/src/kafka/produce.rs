//! Appends records: `acks=all`, idempotent, acknowledged by the delivery report and by nothing else.

use super::config::KafkaConfig;
use super::record;
use super::report::Report;
use super::unavailable;
use crate::{Acknowledgement, AppendError, LogError, Record};
use metrics::{Counter, Histogram, counter, histogram};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

#[derive(Clone)]
pub(super) struct Producer(Arc<Inner>);

struct Inner {
    config: Arc<KafkaConfig>,
    /// Replaced when librdkafka declares it unusable (a fatal error of the idempotent producer).
    client: RwLock<FutureProducer<Report>>,
    meters: RwLock<HashMap<String, Meters>>,
}

#[derive(Clone)]
struct Meters {
    appended: Counter,
    duration: Histogram,
}

impl Producer {
    pub(super) fn new(config: &Arc<KafkaConfig>) -> Result<Self, LogError> {
        let client = RwLock::new(create(config).map_err(unavailable)?);
        Ok(Self(Arc::new(Inner { config: Arc::clone(config), client, meters: RwLock::default() })))
    }

    pub(super) fn append(&self, topic: &str, record: Record) -> Result<Acknowledgement, AppendError> {
        let meters = self.0.meters(topic);
        let started = Instant::now();
        let size = record.key.len() + record.value.len();
        let mut native = FutureRecord::to(topic).key(record.key.as_ref()).payload(record.value.as_ref());
        if !record.headers.is_empty() {
            native = native.headers(record::to_headers(&record.headers));
        }
        let sent = self.0.client().send_result(native);
        let delivery = sent.map_err(|(error, _)| self.0.failed(&error, size))?;

        let this = Arc::clone(&self.0);
        Ok(Acknowledgement::new(async move {
            let delivered = match delivery.await {
                Ok(Ok(delivered)) => delivered,
                Ok(Err((error, _))) => return Err(this.failed(&error, size)),
                Err(_) => return Err(AppendError::NotAcknowledged("the producer was closed".into())),
            };
            // After a retry the broker may only say that it has the record already.
            let (Ok(partition), Ok(offset)) = (u32::try_from(delivered.partition), u64::try_from(delivered.offset)) else {
                return Err(AppendError::NotAcknowledged("the broker named no position".into()));
            };
            meters.appended.increment(1);
            meters.duration.record(started.elapsed());
            Ok((partition, offset))
        }))
    }
}

impl Inner {
    fn client(&self) -> FutureProducer<Report> {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
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
            Ok(new) => *client = new,
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

fn create(config: &KafkaConfig) -> Result<FutureProducer<Report>, KafkaError> {
    config.producer().create_with_context(Report)
}
