//! Reads all partitions of a topic without a group: nothing is committed, nobody else is kept from reading.

use super::report::Report;
use super::topics::Topics;
use super::{is_unknown_topic, native_offset, native_partition, outside, record, unavailable};
use crate::{Bounds, LogError, LogRecord, ReadFrom, Reader};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

const BATCH_RECORDS: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;

/// Opens a reader. Partitions are read from where `from` says; one that is added later, from its beginning.
pub(super) async fn open(topics: Arc<Topics>, topic: &str, from: ReadFrom) -> Result<KafkaReader, LogError> {
    let name = topic.to_owned();
    let bounds = topics.blocking(move |t| (0..t.partitions(&name)?).map(|p| t.bounds(&name, p)).collect::<Result<Vec<_>, _>>()).await?;
    let mut next = BTreeMap::new();
    let mut outstanding = BTreeMap::new();
    for (partition, bounds) in (0u32..).zip(&bounds) {
        let offset = start(topic, partition, *bounds, &from)?;
        next.insert(partition, offset);
        if offset < bounds.end {
            outstanding.insert(partition, bounds.end);
        }
    }

    let consumer: StreamConsumer<Report> = topics.config.reader().create_with_context(Report).map_err(unavailable)?;
    let (grown, partitions) = watch::channel(u32::try_from(bounds.len()).unwrap_or(u32::MAX));
    let watcher = tokio::spawn(watch_partitions(Arc::clone(&topics), topic.to_owned(), grown)).abort_handle();
    let reader = KafkaReader {
        topic: topic.to_owned(),
        topics,
        consumer: Some(consumer),
        goes_on_after_trim: from == ReadFrom::Start,
        next,
        outstanding,
        partitions,
        failure: None,
        watcher,
    };
    reader.assign(reader.next.iter().map(|(partition, offset)| (*partition, *offset)))?;
    Ok(reader)
}

pub(super) struct KafkaReader {
    topic: String,
    topics: Arc<Topics>,
    /// Taken out when dropped.
    consumer: Option<StreamConsumer<Report>>,
    /// Who reads everything there is does not miss what retention takes meanwhile.
    goes_on_after_trim: bool,
    /// The next offset of each partition.
    next: BTreeMap<u32, u64>,
    /// Partitions that have not been read up to the end they had when the reader was opened.
    outstanding: BTreeMap<u32, u64>,
    partitions: watch::Receiver<u32>,
    /// What stopped the last batch; dealt with before the next.
    failure: Option<KafkaError>,
    watcher: AbortHandle,
}

impl Reader for KafkaReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<LogRecord>, LogError>> {
        self.read().boxed()
    }

    fn is_caught_up(&self) -> bool {
        self.outstanding.is_empty()
    }
}

impl KafkaReader {
    /// At least one record; none only where the end that the topic had at the opening is reached without one
    /// (compaction leaves gaps), so that whoever waits for [`Reader::is_caught_up`] gets to look.
    async fn read(&mut self) -> Result<Vec<LogRecord>, LogError> {
        loop {
            let was_caught_up = self.is_caught_up();
            let records = self.wait().await?;
            if !records.is_empty() || (self.is_caught_up() && !was_caught_up) {
                return Ok(records);
            }
        }
    }

    async fn wait(&mut self) -> Result<Vec<LogRecord>, LogError> {
        if let Some(error) = self.failure.clone() {
            let outcome = self.recover(&error).await;
            self.failure = None;
            outcome?;
        }
        let Some(consumer) = &self.consumer else { return Err(LogError::Unavailable("the reader is closed".into())) };
        let first = tokio::select! {
            first = consumer.recv() => first.map(|message| record::from_message(&message)),
            Ok(()) = self.partitions.changed() => {
                self.grow()?;
                return Ok(Vec::new());
            }
        };
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut outcome = Some(first);
        // No wait from here on, so that cancelling loses nothing.
        while let Some(result) = outcome.take() {
            match result {
                Ok(record) => {
                    bytes += record.weight();
                    self.accept(record, &mut records);
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    self.outstanding.remove(&u32::try_from(partition).unwrap_or_default());
                }
                Err(error) => {
                    self.failure = Some(error);
                    break;
                }
            }
            if records.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                break;
            }
            let ready = self.consumer.as_ref().and_then(|consumer| consumer.recv().now_or_never());
            outcome = ready.map(|result| result.map(|message| record::from_message(&message)));
        }
        Ok(records)
    }

    fn accept(&mut self, record: LogRecord, records: &mut Vec<LogRecord>) {
        let next = self.next.entry(record.partition).or_default();
        if record.offset < *next {
            return;
        }
        *next = record.offset + 1;
        if self.outstanding.get(&record.partition).is_some_and(|end| record.offset + 1 >= *end) {
            self.outstanding.remove(&record.partition);
        }
        records.push(record);
    }

    /// Goes on after an error of librdkafka, or says why it cannot.
    async fn recover(&mut self, error: &KafkaError) -> Result<(), LogError> {
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            return Err(unavailable(error.clone()));
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => self.return_into_range().await,
            Some(code) if is_unknown_topic(code) => Err(LogError::UnknownTopic(self.topic.clone())),
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::SaslAuthenticationFailed | RDKafkaErrorCode::Authentication,
            ) => Err(unavailable(error.clone())),
            _ => {
                // librdkafka tries again by itself.
                tracing::warn!(%error, topic = self.topic, "reading");
                Ok(())
            }
        }
    }

    /// A partition's next offset is not in the log. librdkafka does not say which one, and has stopped reading it.
    async fn return_into_range(&mut self) -> Result<(), LogError> {
        for (partition, offset) in self.next.clone() {
            let topic = self.topic.clone();
            let bounds = self.topics.blocking(move |t| t.bounds(&topic, partition)).await?;
            if (bounds.start..=bounds.end).contains(&offset) {
                continue;
            }
            if offset > bounds.end || !self.goes_on_after_trim {
                return Err(outside(&self.topic, partition, offset, bounds));
            }
            self.next.insert(partition, bounds.start);
            self.consumer()?.incremental_unassign(&self.list([(partition, bounds.start)])?).map_err(unavailable)?;
            self.assign([(partition, bounds.start)])?;
        }
        Ok(())
    }

    /// Reads partitions that were added, from their beginning.
    fn grow(&mut self) -> Result<(), LogError> {
        let partitions = *self.partitions.borrow_and_update();
        let added: Vec<(u32, u64)> = (0..partitions).filter(|p| !self.next.contains_key(p)).map(|p| (p, 0)).collect();
        self.assign(added.iter().copied())?;
        self.next.extend(added);
        Ok(())
    }

    fn assign(&self, offsets: impl IntoIterator<Item = (u32, u64)>) -> Result<(), LogError> {
        self.consumer()?.incremental_assign(&self.list(offsets)?).map_err(unavailable)
    }

    fn list(&self, offsets: impl IntoIterator<Item = (u32, u64)>) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(&self.topic, native_partition(partition), native_offset(offset)).map_err(unavailable)?;
        }
        Ok(list)
    }

    fn consumer(&self) -> Result<&StreamConsumer<Report>, LogError> {
        self.consumer.as_ref().ok_or_else(|| LogError::Unavailable("the reader is closed".into()))
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        self.watcher.abort();
        let consumer = self.consumer.take();
        // Closing blocks.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(consumer))),
            Err(_) => drop(consumer),
        }
    }
}

impl fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaReader").field("topic", &self.topic).field("next", &self.next).finish_non_exhaustive()
    }
}

fn start(topic: &str, partition: u32, bounds: Bounds, from: &ReadFrom) -> Result<u64, LogError> {
    let offset = match from {
        ReadFrom::Start => bounds.start,
        ReadFrom::End => bounds.end,
        ReadFrom::Offsets(offsets) => offsets.iter().find(|(p, _)| *p == partition).map_or(bounds.end, |(_, offset)| *offset),
    };
    if (bounds.start..=bounds.end).contains(&offset) { Ok(offset) } else { Err(outside(topic, partition, offset, bounds)) }
}

async fn watch_partitions(topics: Arc<Topics>, topic: String, grown: watch::Sender<u32>) {
    loop {
        tokio::time::sleep(Duration::from_millis(u64::from(topics.config.metadata_refresh_ms))).await;
        let name = topic.clone();
        match topics.blocking(move |t| t.partitions(&name)).await {
            Ok(partitions) => {
                grown.send_if_modified(|known| {
                    let is_more = partitions > *known;
                    *known = partitions.max(*known);
                    is_more
                });
            }
            Err(error) => tracing::debug!(%error, topic, "looking for new partitions"),
        }
    }
}
