//! Questions about topics, partitions and groups, and the making of topics. Its calls block; [`Topics::blocking`]
//! takes them to the blocking pool.

use super::config::KafkaConfig;
use super::report::Report;
use super::{about_topic, is_unknown_topic, native_offset, native_partition, record, unavailable};
use crate::{Bounds, LogError, LogRecord, TopicSpec};
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Groups whose observers are kept.
const OBSERVERS: usize = 16;
const RETRY: Duration = Duration::from_millis(50);
const TOPIC_READY_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Topics {
    pub(super) config: Arc<KafkaConfig>,
    admin: AdminClient<Report>,
    /// Of consumer kind, since asking as a producer can create a topic.
    client: BaseConsumer<Report>,
    observers: Mutex<BTreeMap<String, Arc<BaseConsumer<Report>>>>,
    /// What [`Topics::check`] looks at.
    made: Mutex<BTreeSet<String>>,
}

impl Topics {
    pub(super) fn new(config: Arc<KafkaConfig>) -> Result<Self, LogError> {
        Ok(Self {
            admin: config.admin().create_with_context(Report).map_err(unavailable)?,
            client: config.admin().create_with_context(Report).map_err(unavailable)?,
            observers: Mutex::default(),
            made: Mutex::default(),
            config,
        })
    }

    /// Runs a blocking question on the blocking pool.
    pub(super) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl FnOnce(&Self) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let answer = question(&this);
            // Serves what librdkafka wants to say; nothing else polls this client.
            this.drain(&this.client);
            answer
        })
        .await
        .map_err(|error| LogError::Unavailable(error.to_string()))?
    }

    pub(super) fn cluster_id(&self) -> Result<String, LogError> {
        let id = self.client.client().fetch_cluster_id(self.config.request_timeout());
        id.ok_or_else(|| LogError::Unavailable("the cluster did not tell its id".into()))
    }

    pub(super) fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        let metadata = self.metadata(topic)?;
        let partitions = metadata.topics().first().map_or(0, |t| t.partitions().len());
        u32::try_from(partitions).map_err(|_| LogError::UnknownTopic(topic.to_owned()))
    }

    pub(super) fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        let deadline = Instant::now() + self.config.request_timeout();
        loop {
            match self.client.fetch_watermarks(topic, native_partition(partition), self.config.request_timeout()) {
                Ok(watermarks) => return Ok(bounds_of(watermarks)),
                // The leader is changing, or is new and does not know it yet.
                Err(error) if is_about_leader(&error) && Instant::now() < deadline => std::thread::sleep(RETRY),
                Err(error) => return Err(about_topic(error, topic)),
            }
        }
    }

    pub(super) fn committed(&self, group: &str, topic: &str) -> Result<Vec<Option<u64>>, LogError> {
        let mut asked = TopicPartitionList::new();
        let partitions = self.partitions(topic)?;
        asked.add_partition_range(topic, 0, native_partition(partitions.saturating_sub(1)));
        let observer = self.observer(group)?;
        let deadline = Instant::now() + self.config.request_timeout();
        let answer = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match observer.committed_offsets(asked.clone(), left.max(Duration::from_millis(1))) {
                // The group's first members are just coming together, or its coordinator moves to another broker.
                Err(error) if is_about_coordinator(&error) && !left.is_zero() => std::thread::sleep(RETRY.min(left)),
                answer => break answer.map_err(|error| about_topic(error, topic)),
            }
        };
        self.drain(&observer);
        offsets_of(&answer?, topic, partitions)
    }

    pub(super) fn record_at(&self, topic: &str, partition: u32, offset: u64) -> Result<Option<LogRecord>, LogError> {
        let bounds = self.bounds(topic, partition)?;
        if offset < bounds.start || offset >= bounds.end {
            return Ok(None);
        }
        let consumer: BaseConsumer<Report> = self.config.reader().create_with_context(Report).map_err(unavailable)?;
        let mut at = TopicPartitionList::new();
        at.add_partition_offset(topic, native_partition(partition), native_offset(offset)).map_err(unavailable)?;
        consumer.assign(&at).map_err(unavailable)?;

        let deadline = Instant::now() + self.config.request_timeout();
        while Instant::now() < deadline {
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                // Compaction leaves gaps: the first record that comes may be a later one.
                Some(Ok(message)) => return Ok(Some(record::from_message(&message)).filter(|r| r.offset == offset)),
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                // Trimmed since its bounds were asked for.
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => return Ok(None),
                Some(Err(error)) => tracing::warn!(%error, topic, partition, "reading one record"),
            }
        }
        Err(LogError::Unavailable(format!("{topic}/{partition}: the record at {offset} did not come in time")))
    }

    /// Whether every topic that was made here has a leader for each partition; without one, whether a broker answers.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if made.is_empty() {
            return self.client.fetch_metadata(None, self.config.request_timeout()).map(drop).map_err(unavailable);
        }
        made.iter().try_for_each(|topic| leaders(&self.metadata(topic)?, topic).map(drop))
    }

    pub(super) async fn create(self: &Arc<Self>, spec: &TopicSpec) -> Result<(), LogError> {
        let name = spec.name.clone();
        let brokers = self.blocking(|t| t.brokers()).await?;
        match self.blocking(move |t| t.partitions(&name)).await {
            Ok(partitions) => self.grow(spec, partitions).await?,
            Err(LogError::UnknownTopic(_)) => self.make(spec, brokers).await?,
            Err(error) => return Err(error),
        }
        self.wait_until_led(spec).await?;
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.name.clone());
        Ok(())
    }

    async fn make(self: &Arc<Self>, spec: &TopicSpec, brokers: usize) -> Result<(), LogError> {
        let replication = i32::try_from(brokers.clamp(1, 3)).unwrap_or(1);
        if replication < 3 {
            tracing::warn!(topic = spec.name, replication, "fewer than three brokers: records do not survive the loss of a broker");
        }
        let settings = settings(spec, replication);
        let mut topic = NewTopic::new(&spec.name, native_partition(spec.partitions), TopicReplication::Fixed(replication));
        topic.config = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let made = self.admin.create_topics([&topic], &self.admin_options()).await.map_err(unavailable)?;
        match made.into_iter().next() {
            // Made by another process at the same time.
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(refused(&spec.name, code)),
            None => Err(LogError::Unavailable(format!("topic {}: no answer", spec.name))),
        }
    }

    async fn grow(self: &Arc<Self>, spec: &TopicSpec, partitions: u32) -> Result<(), LogError> {
        if partitions >= spec.partitions {
            return Ok(());
        }
        let wanted = usize::try_from(spec.partitions).unwrap_or(usize::MAX);
        let grown =
            self.admin.create_partitions([&NewPartitions::new(&spec.name, wanted)], &self.admin_options()).await.map_err(unavailable)?;
        match grown.into_iter().next() {
            // Grown by another process at the same time.
            Some(Ok(_) | Err((_, RDKafkaErrorCode::InvalidPartitions))) => Ok(()),
            Some(Err((_, code))) => Err(refused(&spec.name, code)),
            None => Err(LogError::Unavailable(format!("topic {}: no answer", spec.name))),
        }
    }

    /// A new topic is known to the controller before it is known to every broker.
    async fn wait_until_led(self: &Arc<Self>, spec: &TopicSpec) -> Result<(), LogError> {
        let deadline = Instant::now() + TOPIC_READY_WITHIN;
        loop {
            let name = spec.name.clone();
            let led = self.blocking(move |t| t.led(&name)).await;
            match led {
                Ok(partitions) if partitions >= spec.partitions => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                _ if Instant::now() >= deadline => return Err(LogError::Unavailable(format!("topic {} is not ready", spec.name))),
                _ => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Number of partitions, once each has a leader that answers as one.
    fn led(&self, topic: &str) -> Result<u32, LogError> {
        let partitions = leaders(&self.metadata(topic)?, topic)?;
        (0..partitions).try_for_each(|partition| self.bounds(topic, partition).map(drop))?;
        Ok(partitions)
    }

    fn brokers(&self) -> Result<usize, LogError> {
        let metadata = self.client.fetch_metadata(None, self.config.request_timeout()).map_err(unavailable)?;
        Ok(metadata.brokers().len())
    }

    fn metadata(&self, topic: &str) -> Result<Metadata, LogError> {
        let metadata = self.client.fetch_metadata(Some(topic), self.config.request_timeout()).map_err(|error| about_topic(error, topic))?;
        let known = metadata.topics().iter().find(|t| t.name() == topic);
        match known.map(|t| t.error().map(RDKafkaErrorCode::from)) {
            Some(None) => Ok(metadata),
            Some(Some(code)) if !is_unknown_topic(code) => Err(LogError::Unavailable(format!("topic {topic}: {code}"))),
            _ => Err(LogError::UnknownTopic(topic.to_owned())),
        }
    }

    fn observer(&self, group: &str) -> Result<Arc<BaseConsumer<Report>>, LogError> {
        let mut observers = self.observers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(observer) = observers.get(group) {
            return Ok(Arc::clone(observer));
        }
        if observers.len() >= OBSERVERS {
            observers.clear();
        }
        let observer: BaseConsumer<Report> = self.config.group_observer(group).create_with_context(Report).map_err(unavailable)?;
        let observer = Arc::new(observer);
        observers.insert(group.to_owned(), Arc::clone(&observer));
        Ok(observer)
    }

    fn drain(&self, client: &BaseConsumer<Report>) {
        while let Some(Err(error)) = client.poll(Duration::ZERO) {
            tracing::debug!(%error, "kafka client");
        }
    }

    fn admin_options(&self) -> AdminOptions {
        let timeout = Some(self.config.request_timeout());
        AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").field("made", &self.made).finish_non_exhaustive()
    }
}

/// Bounds from librdkafka's low and high watermark.
pub(super) fn bounds_of((low, high): (i64, i64)) -> Bounds {
    Bounds { start: u64::try_from(low).unwrap_or_default(), end: u64::try_from(high).unwrap_or_default() }
}

/// A group's committed offsets from an answer of the brokers, by partition.
pub(super) fn offsets_of(answer: &TopicPartitionList, topic: &str, partitions: u32) -> Result<Vec<Option<u64>>, LogError> {
    let mut committed = vec![None; usize::try_from(partitions).unwrap_or_default()];
    for element in answer.elements_for_topic(topic) {
        element.error().map_err(|error| about_topic(error, topic))?;
        let slot = usize::try_from(element.partition()).ok().and_then(|p| committed.get_mut(p));
        if let (Some(slot), rdkafka::Offset::Offset(offset)) = (slot, element.offset()) {
            *slot = u64::try_from(offset).ok();
        }
    }
    Ok(committed)
}

fn settings(spec: &TopicSpec, replication: i32) -> Vec<(&'static str, String)> {
    let cleanup = match (spec.is_compacted, spec.retention) {
        (true, Some(_)) => "compact,delete",
        (true, None) => "compact",
        (false, _) => "delete",
    };
    let mut settings = vec![
        ("cleanup.policy", cleanup.to_owned()),
        ("retention.ms", spec.retention.map_or_else(|| "-1".into(), |r| r.as_millis().to_string())),
        ("retention.bytes", spec.retention_bytes.map_or_else(|| "-1".into(), |b| b.to_string())),
        ("min.insync.replicas", if replication >= 3 { "2" } else { "1" }.into()),
        ("unclean.leader.election.enable", "false".into()),
        // The rules about age go by the time of appending, which a producer's clock must not decide.
        ("message.timestamp.type", "LogAppendTime".into()),
    ];
    if spec.is_compacted {
        // Only closed segments are compacted, and readers start at the beginning.
        settings.extend([("segment.ms", "3600000".into()), ("min.cleanable.dirty.ratio", "0.2".into())]);
    }
    settings
}

/// Number of partitions, all of which have a leader.
fn leaders(metadata: &Metadata, topic: &str) -> Result<u32, LogError> {
    let partitions = metadata.topics().iter().find(|t| t.name() == topic).map(|t| t.partitions()).unwrap_or_default();
    match partitions.iter().find(|p| p.leader() < 0) {
        Some(orphan) => Err(LogError::Unavailable(format!("{topic}/{} has no leader", orphan.id()))),
        None => Ok(u32::try_from(partitions.len()).unwrap_or(u32::MAX)),
    }
}

fn is_about_leader(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::NotLeaderForPartition | RDKafkaErrorCode::LeaderNotAvailable | RDKafkaErrorCode::FencedLeaderEpoch)
    )
}

fn refused(topic: &str, code: RDKafkaErrorCode) -> LogError {
    match code {
        RDKafkaErrorCode::InvalidTopic
        | RDKafkaErrorCode::InvalidConfig
        | RDKafkaErrorCode::InvalidPartitions
        | RDKafkaErrorCode::PolicyViolation => LogError::Broken(format!("topic {topic}: {code}")),
        _ => LogError::Unavailable(format!("topic {topic}: {code}")),
    }
}

/// Whether the group's coordinator is only not there yet, or elsewhere by now.
fn is_about_coordinator(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator};
    matches!(error.rdkafka_error_code(), Some(NotCoordinator | CoordinatorNotAvailable | CoordinatorLoadInProgress))
}
