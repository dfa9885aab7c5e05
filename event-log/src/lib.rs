//! The ordered, partitioned, durable log that the services share, twice: Apache Kafka and one local
//! directory for a single machine. It knows nothing about agents: keys, values and headers are bytes.
//!
//! What both promise:
//! - [`Log::append`] enqueues in call order; its acknowledgement comes only when the record is durable
//!   (Kafka: `acks=all` and the delivery report; local: `fsync` done).
//! - A record's key decides its partition; within a partition offsets only grow.
//! - A group's partitions are each held by one consumer; a committed offset survives everything.

pub mod kafka;
pub mod local;
mod position;

pub use position::{Before, ParseError, Position, Receipt};

use bytes::Bytes;
use futures::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a producer hands in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition; in a compacted topic the newest record per key stays.
    pub key: Bytes,
    /// The payload.
    pub value: Bytes,
    /// Names and values, in order.
    pub headers: Vec<(String, Bytes)>,
}

/// A record as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Partition of the topic.
    pub partition: u32,
    /// Offset within the partition.
    pub offset: u64,
    /// When it was appended, ms since the epoch.
    pub appended_at_ms: i64,
    /// The record's key.
    pub key: Bytes,
    /// The record's payload.
    pub value: Bytes,
    /// Names and values, in order.
    pub headers: Vec<(String, Bytes)>,
}

impl LogRecord {
    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Bytes that the record holds in memory, for budgets.
    pub fn weight(&self) -> usize {
        96 + self.key.len() + self.value.len() + self.headers.iter().map(|(n, v)| 48 + n.len() + v.len()).sum::<usize>()
    }
}

/// A topic to be made sure of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Number of partitions; an existing topic with fewer is grown, one with more is left as it is.
    pub partitions: u32,
    /// Records older than this may go; `None` keeps them.
    pub retention: Option<Duration>,
    /// Above this size per partition the oldest records may go; `None` for no bound.
    pub retention_bytes: Option<u64>,
    /// Whether the newest record per key is kept whatever its size, until `retention`.
    pub is_compacted: bool,
}

/// First offset that is there and the offset that the next record gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Offset of the oldest record there is (`end` where there is none).
    pub start: u64,
    /// One beyond the newest record.
    pub end: u64,
}

/// Where [`Log::read`] begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the oldest record.
    Start,
    /// Behind the newest record.
    End,
    /// At these offsets (partition, offset); partitions not named begin at the end.
    Offsets(Vec<(u32, u64)>),
}

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The producer's buffer is full; nothing was enqueued.
    #[error("the log's buffer is full")]
    BufferFull,
    /// The log has no room and may not trim what is not counted yet.
    #[error("the log has no room left")]
    NoRoom,
    /// The record is larger than the log takes; a retry fails too.
    #[error("the record is too large for the log ({0} bytes)")]
    TooLarge(usize),
    /// The record may or may not be in the log; a retry of the same identity is counted once.
    #[error("the log did not acknowledge: {0}")]
    NotAcknowledged(String),
}

/// Why the log could not answer.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No such topic.
    #[error("unknown topic {0}")]
    UnknownTopic(String),
    /// The committed offset lies before the log's start: records were trimmed before they were counted.
    #[error("{topic}/{partition}: committed offset {committed} is before the log's start {start}: {} events are gone", start - committed)]
    Trimmed {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The group's committed offset.
        committed: u64,
        /// The log's first offset.
        start: u64,
    },
    /// The committed offset lies beyond the log's end: this is not the log that was committed to.
    #[error("{topic}/{partition}: committed offset {committed} is beyond the log's end {end}")]
    BeyondEnd {
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The group's committed offset.
        committed: u64,
        /// One beyond the log's newest offset.
        end: u64,
    },
    /// The consumer no longer holds the partition: whatever it did since is the new holder's to judge.
    #[error("partition {0} is held by another consumer")]
    NotHeld(u32),
    /// The log is not reachable or broken for now.
    #[error("the log is unavailable: {0}")]
    Unavailable(String),
    /// The log's files are broken or of a foreign kind.
    #[error("the log is unusable: {0}")]
    Broken(String),
}

impl LogError {
    /// Whether trying again later can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// The outcome of an append, once the log has answered: partition and offset.
pub struct Acknowledgement(BoxFuture<'static, Result<(u32, u64), AppendError>>);

impl Acknowledgement {
    /// Wraps an implementation's future.
    pub fn new(outcome: impl Future<Output = Result<(u32, u64), AppendError>> + Send + 'static) -> Self {
        Self(Box::pin(outcome))
    }
}

impl Future for Acknowledgement {
    type Output = Result<(u32, u64), AppendError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acknowledgement")
    }
}

/// The outcome of several appends, once the log has answered to all of them: partition and offset of each, in no order.
pub struct Acknowledgements(BoxFuture<'static, Result<Vec<(u32, u64)>, AppendError>>);

impl Acknowledgements {
    /// Wraps an implementation's future.
    pub fn new(outcome: impl Future<Output = Result<Vec<(u32, u64)>, AppendError>> + Send + 'static) -> Self {
        Self(Box::pin(outcome))
    }
}

impl Future for Acknowledgements {
    type Output = Result<Vec<(u32, u64)>, AppendError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Acknowledgements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acknowledgements")
    }
}

/// The log, as the services see it.
pub trait Log: Send + Sync + fmt::Debug + 'static {
    /// Which log this is: the Kafka cluster's id or the local log's random id.
    fn id(&self) -> BoxFuture<'_, Result<String, LogError>>;

    /// Makes sure that a topic exists as specified.
    fn create_topic<'a>(&'a self, spec: &'a TopicSpec) -> BoxFuture<'a, Result<(), LogError>>;

    /// Number of partitions of a topic.
    fn partitions<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<u32, LogError>>;

    /// Enqueues a record in call order; never blocks. The acknowledgement resolves when the record is durable
    /// or has failed for good; it has an upper bound in time (the delivery time-out).
    fn append(&self, topic: &str, record: Record) -> Result<Acknowledgement, AppendError>;

    /// Enqueues several records, given as key and value, with the same headers; like [`Log::append`] of each. Some may be in
    /// the log where it answers with an error.
    fn append_many(&self, topic: &str, records: Vec<(Bytes, Bytes)>, headers: &[(String, Bytes)]) -> Result<Acknowledgements, AppendError> {
        let append = |(key, value)| self.append(topic, Record { key, value, headers: headers.to_vec() });
        let appended = records.into_iter().map(append).collect::<Result<Vec<_>, _>>()?;
        Ok(Acknowledgements::new(async move {
            let mut positions = Vec::with_capacity(appended.len());
            for acknowledgement in appended {
                positions.push(acknowledgement.await?);
            }
            Ok(positions)
        }))
    }

    /// First and next offset of a partition.
    fn bounds<'a>(&'a self, topic: &'a str, partition: u32) -> BoxFuture<'a, Result<Bounds, LogError>>;

    /// A group's committed offsets (the next one to read), by partition.
    fn committed<'a>(&'a self, group: &'a str, topic: &'a str) -> BoxFuture<'a, Result<Vec<Option<u64>>, LogError>>;

    /// The record at exactly that offset, if it is there.
    fn record_at<'a>(&'a self, topic: &'a str, partition: u32, offset: u64) -> BoxFuture<'a, Result<Option<LogRecord>, LogError>>;

    /// Joins a group as a consumer of a topic. The local log keeps what registered groups have not committed.
    fn join(self: Arc<Self>, group: &str, topic: &str) -> Result<Box<dyn GroupConsumer>, LogError>;

    /// Reads all partitions of a topic without a group.
    fn read<'a>(self: Arc<Self>, topic: &'a str, from: ReadFrom) -> BoxFuture<'a, Result<Box<dyn Reader>, LogError>>;

    /// Whether the log can take records now; the reason where not.
    fn check(&self) -> BoxFuture<'_, Result<(), LogError>>;
}

/// A partition that a consumer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The partition.
    pub partition: u32,
    /// The group's committed offset (the next one to read); `None` where the group never committed.
    pub committed: Option<u64>,
}

/// Partitions that are taken away in an orderly way: finish, commit, then call [`Revocation::done`] (or drop it).
/// The handover waits for it, but not longer than the group allows.
#[derive(Debug)]
pub struct Revocation {
    /// The partitions.
    pub partitions: Vec<u32>,
    done: Option<std::sync::mpsc::SyncSender<()>>,
}

impl Revocation {
    /// A revocation that tells `done` when it is finished or dropped.
    pub fn new(partitions: Vec<u32>, done: std::sync::mpsc::SyncSender<()>) -> Self {
        Self { partitions, done: Some(done) }
    }

    /// Lets the partitions go.
    pub fn done(self) {}
}

impl Drop for Revocation {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            // The waiting side may have given up already.
            let _ = done.try_send(());
        }
    }
}

/// What a consumer is told, in order.
#[derive(Debug)]
pub enum Delivery {
    /// New partitions; nothing of them is delivered before [`GroupConsumer::begin`].
    Assigned(Vec<Assignment>),
    /// Records, in offset order within each partition.
    Records(Vec<LogRecord>),
    /// Partitions that go to another consumer.
    Revoked(Revocation),
    /// Partitions that already went to another consumer: drop their state, commit nothing.
    Lost(Vec<u32>),
}

/// A member of a consumer group.
pub trait GroupConsumer: Send + fmt::Debug {
    /// Waits for the next thing to know. Safe to cancel.
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, LogError>>;

    /// Starts delivery of an assigned partition at that offset.
    fn begin(&mut self, partition: u32, offset: u64) -> Result<(), LogError>;

    /// Stops delivery of a partition without giving it up. Records already on their way still come.
    fn pause(&mut self, partition: u32) -> Result<(), LogError>;

    /// Goes on with a paused partition.
    fn resume(&mut self, partition: u32) -> Result<(), LogError>;

    /// A handle that commits for this consumer from elsewhere.
    fn committer(&self) -> Arc<dyn Committer>;

    /// Leaves the group. Partitions still held go to others at once.
    fn leave(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Commits a consumer's offsets.
pub trait Committer: Send + Sync + fmt::Debug {
    /// Commits `next_offset` (one beyond the last finished) of a partition durably.
    /// [`LogError::NotHeld`] where another consumer holds it by now.
    fn commit(&self, partition: u32, next_offset: u64) -> BoxFuture<'_, Result<(), LogError>>;
}

/// Reads all partitions of a topic, in offset order within each.
pub trait Reader: Send + fmt::Debug {
    /// Waits for at least one record; returns none only where [`Reader::is_caught_up`] came true without one (a log may
    /// have gaps at its end). Safe to cancel. Picks up partitions that are added later.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<LogRecord>, LogError>>;

    /// Whether everything that was in the topic when the reader was opened has been returned.
    fn is_caught_up(&self) -> bool;
}
