//! A member of a consumer group. A thread of its own polls librdkafka without pause, so that a slow user is never thrown
//! out; it pauses fetching by bytes. Offsets are committed by hand only, and only for partitions that are held.
//!
//! Why commits are fenced here too: within a generation the brokers take commits from any member for any partition.
//! A commit therefore runs under a read lock on the held partitions, and they are let go under its write lock.

mod poll;
mod rebalance;

use super::config::KafkaConfig;
use super::mailbox::Mailbox;
use super::topics::bounds_of;
use super::{about_topic, native_offset, native_partition, outside, unavailable};
use crate::{Bounds, Committer, Delivery, GroupConsumer, LogError};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use poll::PollingThread;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use rebalance::Callbacks;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

/// Leaving goes on in the background after this.
const LEAVE_WITHIN: Duration = Duration::from_secs(15);

/// Joins `group` as a consumer of `topic`.
pub(super) fn join(config: &Arc<KafkaConfig>, group: &str, topic: &str) -> Result<KafkaGroupConsumer, LogError> {
    let shared = Arc::new(Shared {
        topic: topic.to_owned(),
        config: Arc::clone(config),
        mailbox: Mailbox::default(),
        held: RwLock::default(),
        partitions: Mutex::default(),
        is_leaving: AtomicBool::new(false),
    });
    let consumer: BaseConsumer<Callbacks> =
        config.group_member(group).create_with_context(Callbacks(Arc::clone(&shared))).map_err(unavailable)?;
    consumer.subscribe(&[topic]).map_err(|error| about_topic(error, topic))?;
    let consumer = Arc::new(consumer);

    let committer = Arc::new(KafkaCommitter { shared: Arc::clone(&shared), consumer: Arc::downgrade(&consumer) });
    let (commands, inbox) = mpsc::channel();
    let (ended, is_ended) = oneshot::channel();
    let thread = PollingThread::new(Arc::clone(&shared), consumer, inbox, ended);
    std::thread::Builder::new()
        .name(format!("kafka-{topic}"))
        .spawn(move || thread.run())
        .map_err(|error| LogError::Unavailable(format!("starting the consumer's thread: {error}")))?;
    Ok(KafkaGroupConsumer { shared, commands, committer, round: 0, is_ended: Some(is_ended) })
}

pub(super) struct KafkaGroupConsumer {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    committer: Arc<KafkaCommitter>,
    /// The rebalance that the user knows of.
    round: u64,
    is_ended: Option<oneshot::Receiver<()>>,
}

/// What the user wants of a partition that it was given in that round. Of no effect in a later one: the same partition
/// may have come back meanwhile, and the user has yet to say where it begins.
#[derive(Clone, Copy, Debug)]
struct Command {
    round: u64,
    partition: u32,
    wish: Wish,
}

#[derive(Clone, Copy, Debug)]
enum Wish {
    Begin { offset: u64 },
    Pause,
    Resume,
}

/// What the polling thread, librdkafka's callbacks (on the same thread) and the users share.
struct Shared {
    topic: String,
    config: Arc<KafkaConfig>,
    mailbox: Mailbox,
    /// The partitions whose offsets this consumer may commit, with their bounds when they were assigned.
    /// A commit under way holds the read lock.
    held: RwLock<BTreeMap<u32, Bounds>>,
    /// Changed by the polling thread only.
    partitions: Mutex<Partitions>,
    is_leaving: AtomicBool,
}

#[derive(Default)]
struct Partitions {
    assigned: BTreeMap<u32, Assigned>,
    /// Assigned, but their committed offsets are not known yet.
    unannounced: Vec<u32>,
    /// Counts rebalances.
    round: u64,
}

#[derive(Default)]
struct Assigned {
    has_begun: bool,
    is_paused: bool,
    /// The next offset to hand over; what lies before was handed over or is not wanted.
    next: u64,
}

impl GroupConsumer for KafkaGroupConsumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, LogError>> {
        async {
            let (round, item) = self.shared.mailbox.next().await;
            if matches!(item, Ok(Delivery::Assigned(_))) {
                self.round = round;
            }
            item
        }
        .boxed()
    }

    fn begin(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.committer.check_offset(partition, offset)?;
        self.command(partition, Wish::Begin { offset })
    }

    fn pause(&mut self, partition: u32) -> Result<(), LogError> {
        self.command(partition, Wish::Pause)
    }

    fn resume(&mut self, partition: u32) -> Result<(), LogError> {
        self.command(partition, Wish::Resume)
    }

    fn committer(&self) -> Arc<dyn Committer> {
        Arc::clone(&self.committer) as Arc<dyn Committer>
    }

    fn leave(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        self.shared.leave();
        let is_ended = self.is_ended.take();
        async move {
            let Some(is_ended) = is_ended else { return };
            if tokio::time::timeout(LEAVE_WITHIN, is_ended).await.is_err() {
                tracing::warn!("leaving the consumer group takes long; it goes on in the background");
            }
        }
        .boxed()
    }
}

impl KafkaGroupConsumer {
    fn command(&self, partition: u32, wish: Wish) -> Result<(), LogError> {
        if !self.shared.holds(partition) || self.shared.partitions().round != self.round {
            return Err(LogError::NotHeld(partition));
        }
        let command = Command { round: self.round, partition, wish };
        self.commands.send(command).map_err(|_| LogError::Unavailable("the consumer has ended".into()))?;
        self.shared.mailbox.wake();
        Ok(())
    }
}

impl Drop for KafkaGroupConsumer {
    fn drop(&mut self) {
        self.shared.leave();
    }
}

impl fmt::Debug for KafkaGroupConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaGroupConsumer").field("topic", &self.shared.topic).field("held", &self.shared.held).finish_non_exhaustive()
    }
}

struct KafkaCommitter {
    shared: Arc<Shared>,
    /// The polling thread owns the consumer, so that it is closed there.
    consumer: Weak<BaseConsumer<Callbacks>>,
}

impl Committer for KafkaCommitter {
    fn commit(&self, partition: u32, next_offset: u64) -> BoxFuture<'_, Result<(), LogError>> {
        let (shared, consumer) = (Arc::clone(&self.shared), Weak::clone(&self.consumer));
        async move {
            tokio::task::spawn_blocking(move || commit(&shared, &consumer, partition, next_offset))
                .await
                .map_err(|error| LogError::Unavailable(error.to_string()))?
        }
        .boxed()
    }
}

impl KafkaCommitter {
    /// Whether a held partition can be read from that offset.
    fn check_offset(&self, partition: u32, offset: u64) -> Result<(), LogError> {
        let held = self.shared.held.read().unwrap_or_else(PoisonError::into_inner);
        let mut bounds = *held.get(&partition).ok_or(LogError::NotHeld(partition))?;
        if offset > bounds.end {
            // Beyond what there was when the partition was assigned. Blocks, but nobody begins there in the normal run.
            let consumer = self.consumer.upgrade().ok_or(LogError::NotHeld(partition))?;
            bounds = self.shared.bounds(&consumer, partition)?;
        }
        // That the start has grown since is for the fetch to find.
        if (bounds.start..=bounds.end).contains(&offset) { Ok(()) } else { Err(outside(&self.shared.topic, partition, offset, bounds)) }
    }
}

impl fmt::Debug for KafkaCommitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaCommitter").field("topic", &self.shared.topic).finish_non_exhaustive()
    }
}

fn commit(shared: &Shared, consumer: &Weak<BaseConsumer<Callbacks>>, partition: u32, next_offset: u64) -> Result<(), LogError> {
    // Kept until the broker has answered; see the module's comment.
    let held = shared.held.read().unwrap_or_else(PoisonError::into_inner);
    let consumer = consumer.upgrade().filter(|_| held.contains_key(&partition)).ok_or(LogError::NotHeld(partition))?;
    if consumer.assignment_lost() {
        return Err(LogError::NotHeld(partition));
    }
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(&shared.topic, native_partition(partition), native_offset(next_offset)).map_err(unavailable)?;
    consumer.commit(&offsets, CommitMode::Sync).map_err(|error| match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::StaleMemberEpoch
            | RDKafkaErrorCode::FencedMemberEpoch,
        ) => LogError::NotHeld(partition),
        _ => about_topic(error, &shared.topic),
    })
}

impl Shared {
    fn holds(&self, partition: u32) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).contains_key(&partition)
    }

    fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
        self.mailbox.wake();
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    fn partitions(&self) -> MutexGuard<'_, Partitions> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets all partitions go, once the commits under way are through.
    fn let_go(&self) {
        self.held.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Shared {
    fn push(&self, item: Result<Delivery, LogError>) {
        let round = self.partitions().round;
        self.mailbox.push(round, item);
    }

    fn bounds(&self, consumer: &BaseConsumer<Callbacks>, partition: u32) -> Result<Bounds, LogError> {
        let watermarks = consumer.fetch_watermarks(&self.topic, native_partition(partition), self.config.request_timeout());
        watermarks.map(bounds_of).map_err(|error| about_topic(error, &self.topic))
    }

    fn list(&self, partitions: impl Iterator<Item = u32>, offset: Offset) -> Result<TopicPartitionList, KafkaError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(&self.topic, native_partition(partition), offset)?;
        }
        Ok(list)
    }
}
