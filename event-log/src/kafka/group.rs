//! A member of a consumer group. A thread of its own polls librdkafka without pause, so that a slow user is never thrown
//! out; it pauses fetching by bytes. Offsets are committed by hand only, and only for partitions that are held.

mod commit;
mod poll;
mod rebalance;

use super::config::KafkaConfig;
use super::mailbox::Mailbox;
use super::topics::bounds_of;
use super::{about_topic, native_partition, unavailable};
use crate::{Bounds, Committer, Delivery, GroupConsumer, LogError};
use commit::{KafkaCommitter, Queue};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use poll::PollingThread;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use rebalance::Callbacks;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc};
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
        known_round: AtomicU64::new(0),
        partitions: Mutex::default(),
        is_leaving: AtomicBool::new(false),
    });
    let consumer: BaseConsumer<Callbacks> =
        config.group_member(group).create_with_context(Callbacks(Arc::clone(&shared))).map_err(unavailable)?;
    consumer.subscribe(&[topic]).map_err(|error| about_topic(error, topic))?;
    let consumer = Arc::new(consumer);

    let queue = Arc::new(Queue::default());
    let committer = Arc::new(KafkaCommitter { shared: Arc::clone(&shared), consumer: Arc::downgrade(&consumer), queue });
    let (commands, inbox) = mpsc::channel();
    let (ended, is_ended) = oneshot::channel();
    let thread = PollingThread::new(Arc::clone(&shared), consumer, inbox, ended);
    std::thread::Builder::new()
        .name(format!("kafka-{topic}"))
        .spawn(move || thread.run())
        .map_err(|error| LogError::Unavailable(format!("starting the consumer's thread: {error}")))?;
    Ok(KafkaGroupConsumer { shared, commands, committer, is_ended: Some(is_ended) })
}

pub(super) struct KafkaGroupConsumer {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    committer: Arc<KafkaCommitter>,
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
    /// The partitions whose offsets this consumer may commit. A commit under way holds the read lock.
    held: RwLock<BTreeMap<u32, Held>>,
    /// The rebalance that the user knows of.
    known_round: AtomicU64,
    /// Changed by the polling thread only.
    partitions: Mutex<Partitions>,
    is_leaving: AtomicBool,
}

/// A partition since the user was told of it.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// As they were then.
    bounds: Bounds,
    /// The rebalance that brought it.
    round: u64,
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
                self.shared.known_round.store(round, Ordering::Release);
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
        let round = self.shared.known_round.load(Ordering::Acquire);
        if !self.shared.holds(partition) || self.shared.partitions().round != round {
            return Err(LogError::NotHeld(partition));
        }
        let command = Command { round, partition, wish };
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
