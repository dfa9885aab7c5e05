//! The log on Apache Kafka. Owns everything that knows librdkafka; knows nothing of what the records mean.
//!
//! librdkafka's blocking calls run on the blocking pool or on a thread of their own, never on the caller's.

mod config;
mod group;
mod mailbox;
mod produce;
mod read;
mod record;
mod report;
mod topics;

pub use config::KafkaConfig;

use crate::{
    Acknowledgement, Acknowledgements, AppendError, Bounds, GroupConsumer, Log, LogError, LogRecord, ReadFrom, Reader, Record, TopicSpec,
};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use produce::Producer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::Arc;
use topics::Topics;

/// The log on a Kafka cluster.
#[derive(Debug)]
pub struct KafkaLog {
    config: Arc<KafkaConfig>,
    producer: Producer,
    topics: Arc<Topics>,
}

impl KafkaLog {
    /// Prepares the clients; they connect when first used, so an unreachable cluster is no error here.
    ///
    /// # Errors
    /// Where librdkafka refuses the configuration.
    pub fn new(config: KafkaConfig) -> Result<Self, LogError> {
        let config = Arc::new(config);
        Ok(Self { producer: Producer::new(&config)?, topics: Arc::new(Topics::new(Arc::clone(&config))?), config })
    }
}

impl Log for KafkaLog {
    fn id(&self) -> BoxFuture<'_, Result<String, LogError>> {
        self.topics.blocking(|topics| topics.cluster_id()).boxed()
    }

    fn create_topic<'a>(&'a self, spec: &'a TopicSpec) -> BoxFuture<'a, Result<(), LogError>> {
        self.topics.create(spec).boxed()
    }

    fn partitions<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<u32, LogError>> {
        let topic = topic.to_owned();
        self.topics.blocking(move |topics| topics.partitions(&topic)).boxed()
    }

    fn append(&self, topic: &str, record: Record) -> Result<Acknowledgement, AppendError> {
        self.producer.append(topic, record)
    }

    fn append_many(&self, topic: &str, records: Vec<(Bytes, Bytes)>, headers: &[(String, Bytes)]) -> Result<Acknowledgements, AppendError> {
        self.producer.append_many(topic, records, headers)
    }

    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<Bounds, LogError>> {
        let topic = topic.to_owned();
        self.topics.blocking(move |topics| topics.bounds(&topic, partition)).boxed()
    }

    fn committed<'a>(&'a self, group: &'a str, topic: &'a str) -> BoxFuture<'a, Result<Vec<Option<u64>>, LogError>> {
        let (group, topic) = (group.to_owned(), topic.to_owned());
        self.topics.blocking(move |topics| topics.committed(&group, &topic)).boxed()
    }

    fn record_at<'a>(&'a self, topic: &'a str, partition: u32, offset: u64) -> BoxFuture<'a, Result<Option<LogRecord>, LogError>> {
        let topic = topic.to_owned();
        self.topics.blocking(move |topics| topics.record_at(&topic, partition, offset)).boxed()
    }

    fn join(self: Arc<Self>, group: &str, topic: &str) -> Result<Box<dyn GroupConsumer>, LogError> {
        Ok(Box::new(group::join(&self.config, group, topic)?))
    }

    fn read<'a>(self: Arc<Self>, topic: &'a str, from: ReadFrom) -> BoxFuture<'a, Result<Box<dyn Reader>, LogError>> {
        async move {
            let reader: Box<dyn Reader> = Box::new(read::open(Arc::clone(&self.topics), topic, from).await?);
            Ok(reader)
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), LogError>> {
        self.topics.blocking(|topics| topics.check()).boxed()
    }
}

/// What an error of librdkafka means to the log's users.
fn unavailable(error: KafkaError) -> LogError {
    match error {
        KafkaError::ClientConfig(_, reason, key, _) => LogError::Broken(format!("option {key}: {reason}")),
        KafkaError::ClientCreation(reason) => LogError::Broken(reason),
        KafkaError::MessageConsumptionFatal(code) => LogError::Broken(code.to_string()),
        other => LogError::Unavailable(other.to_string()),
    }
}

/// Like [`unavailable`], for requests about one topic.
fn about_topic(error: KafkaError, topic: &str) -> LogError {
    match error.rdkafka_error_code() {
        Some(code) if is_unknown_topic(code) => LogError::UnknownTopic(topic.to_owned()),
        _ => unavailable(error),
    }
}

/// The error for an offset outside these bounds.
fn outside(topic: &str, partition: u32, committed: u64, bounds: Bounds) -> LogError {
    let topic = topic.to_owned();
    if committed < bounds.start {
        LogError::Trimmed { topic, partition, committed, start: bounds.start }
    } else {
        LogError::BeyondEnd { topic, partition, committed, end: bounds.end }
    }
}

fn is_unknown_topic(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownPartition)
}

/// librdkafka counts partitions in `i32`.
fn native_partition(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

/// librdkafka counts offsets in `i64`.
fn native_offset(offset: u64) -> rdkafka::Offset {
    rdkafka::Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX))
}
