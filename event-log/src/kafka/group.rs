//! A member of a consumer group. A thread of its own polls librdkafka without pause, so that a slow user is never thrown
//! out; it pauses fetching by bytes. Offsets are committed by hand only, and only for partitions that are held.
//!
//! Why commits are fenced here too: within a generation the brokers take commits from any member for any partition.
//! A commit therefore runs under a read lock on the held partitions, and they are let go under its write lock.

use super::config::KafkaConfig;
use super::mailbox::Mailbox;
use super::report;
use super::topics::{bounds_of, offsets_of};
use super::{about_topic, is_unknown_topic, native_offset, native_partition, outside, record, unavailable};
use crate::{Assignment, Bounds, Committer, Delivery, GroupConsumer, LogError, LogRecord, Revocation};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use metrics::counter;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a poll waits; also how soon a command is seen.
const POLL: Duration = Duration::from_millis(20);
/// How long the thread waits for room before it pauses fetching. Pausing throws away what was fetched ahead.
const ROOM_WITHIN: Duration = Duration::from_millis(500);
const BATCH_RECORDS: usize = 1_000;
const BATCH_BYTES: usize = 256 << 10;
const SEEK_WITHIN: Duration = Duration::from_secs(5);
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
    let thread =
        PollingThread { shared: Arc::clone(&shared), consumer, inbox, deferred: VecDeque::new(), is_throttled: false, _ended: ended };
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

#[derive(Debug)]
enum Command {
    Begin { partition: u32, offset: u64 },
    Pause { partition: u32 },
    Resume { partition: u32 },
}

/// What the polling thread, librdkafka's callbacks (on the same thread) and the users share.
struct Shared {
    topic: String,
    config: Arc<KafkaConfig>,
    mailbox: Mailbox,
    /// The partitions whose offsets this consumer may commit, with their bounds when they were assigned.
    /// A commit under way holds the read lock.
    held: RwLock<BTreeMap<u32, Bounds>>,
    /// Only touched by the polling thread; a mutex because callbacks get no exclusive access.
    partitions: Mutex<Partitions>,
    is_leaving: AtomicBool,
}

#[derive(Default)]
struct Partitions {
    assigned: BTreeMap<u32, Assigned>,
    /// Assigned, but their committed offsets are not known yet.
    unannounced: Vec<u32>,
    /// Counts rebalances, so that records taken before one are not handed over after it.
    rebalances: u64,
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
        self.shared.mailbox.next().boxed()
    }

    fn begin(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.committer.check_offset(partition, offset)?;
        self.command(partition, Command::Begin { partition, offset })
    }

    fn pause(&mut self, partition: u32) -> Result<(), LogError> {
        self.command(partition, Command::Pause { partition })
    }

    fn resume(&mut self, partition: u32) -> Result<(), LogError> {
        self.command(partition, Command::Resume { partition })
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
    fn command(&self, partition: u32, command: Command) -> Result<(), LogError> {
        if !self.shared.holds(partition) {
            return Err(LogError::NotHeld(partition));
        }
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

/// Called by librdkafka on the polling thread.
struct Callbacks(Arc<Shared>);

impl ClientContext for Callbacks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        report::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        report::Report.error(error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

impl ConsumerContext for Callbacks {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, affected: &mut TopicPartitionList) {
        let partitions = affected.elements_for_topic(&self.0.topic).iter().filter_map(|e| u32::try_from(e.partition()).ok()).collect();
        let outcome = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            // The protocol is eager: all partitions go, those that come back are assigned anew.
            _ => self.revoke(consumer),
        };
        if let Err(error) = outcome {
            tracing::error!(%error, topic = self.0.topic, "rebalance");
        }
    }
}

impl Callbacks {
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: Vec<u32>) -> Result<(), KafkaError> {
        counter!("log_consumer_rebalances_total", "kind" => "assigned").increment(1);
        // Where to start is the user's to say. Until then the place does not matter, since nothing is fetched.
        let list = self.0.list(partitions.iter().copied(), Offset::End)?;
        consumer.assign(&list)?;
        consumer.pause(&list)?;
        let mut state = self.0.partitions();
        state.rebalances += 1;
        state.assigned = partitions.iter().map(|partition| (*partition, Assigned::default())).collect();
        state.unannounced = partitions;
        Ok(())
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>) -> Result<(), KafkaError> {
        let held: Vec<u32> = {
            let mut state = self.0.partitions();
            state.rebalances += 1;
            state.assigned.clear();
            state.unannounced.clear();
            self.0.held.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
        };
        self.0.mailbox.take_back_records();
        let is_lost = !held.is_empty() && !self.hand_over(consumer, &held);
        self.0.let_go();
        if is_lost {
            counter!("log_consumer_rebalances_total", "kind" => "lost").increment(1);
            self.0.mailbox.take_back_revocation();
            self.0.mailbox.push(Ok(Delivery::Lost(held)));
        } else {
            counter!("log_consumer_rebalances_total", "kind" => "revoked").increment(1);
        }
        consumer.unassign()
    }

    /// Waits for the user to finish with the partitions. False where they are gone before.
    fn hand_over(&self, consumer: &BaseConsumer<Self>, held: &[u32]) -> bool {
        if consumer.assignment_lost() {
            return false;
        }
        if self.0.is_leaving() {
            return true;
        }
        let (done, is_done) = mpsc::sync_channel(1);
        self.0.mailbox.push(Ok(Delivery::Revoked(Revocation::new(held.to_vec(), done))));
        let deadline = Instant::now() + Duration::from_millis(u64::from(self.0.config.revoke_wait_ms));
        loop {
            match is_done.recv_timeout(Duration::from_millis(50)) {
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.0.is_leaving() {
                return true;
            }
            if consumer.assignment_lost() {
                return false;
            }
            if Instant::now() >= deadline {
                tracing::warn!(topic = self.0.topic, "partitions were not let go in time: they are taken");
                return false;
            }
        }
    }
}

impl Shared {
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

struct PollingThread {
    shared: Arc<Shared>,
    consumer: Arc<BaseConsumer<Callbacks>>,
    inbox: mpsc::Receiver<Command>,
    /// Begins that librdkafka was not ready for.
    deferred: VecDeque<Command>,
    /// Whether fetching is paused for want of room.
    is_throttled: bool,
    /// Dropped with the thread, which tells whoever waits for its end.
    _ended: oneshot::Sender<()>,
}

impl PollingThread {
    fn run(mut self) {
        // Also when this thread panics: the user must hear of it.
        let _end = EndOnDrop(Arc::clone(&self.shared));
        while !self.shared.is_leaving() {
            if let Err(error) = self.turn() {
                // librdkafka does not read on from a position that is not in the log.
                let is_final = matches!(error, LogError::Broken(_) | LogError::Trimmed { .. } | LogError::BeyondEnd { .. });
                self.shared.mailbox.push(Err(error));
                if is_final {
                    break;
                }
            }
        }
        self.shared.is_leaving.store(true, Ordering::Release);
        // No commit holds the consumer after this, so dropping it here closes it here.
        self.shared.let_go();
        drop(self.consumer);
    }

    fn turn(&mut self) -> Result<(), LogError> {
        self.obey();
        self.announce()?;
        if !self.make_room() {
            return Ok(());
        }
        self.collect()
    }

    fn obey(&mut self) {
        for command in std::mem::take(&mut self.deferred) {
            self.carry_out(command);
        }
        loop {
            match self.inbox.try_recv() {
                Ok(command) => self.carry_out(command),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn carry_out(&mut self, command: Command) {
        let outcome = match command {
            Command::Begin { partition, offset } => self.begin(partition, offset),
            Command::Pause { partition } => self.set_paused(partition, true),
            Command::Resume { partition } => self.set_paused(partition, false),
        };
        if let Err(error) = outcome {
            // An assignment that librdkafka has not carried out yet, or one that is gone: then its next poll says so.
            tracing::debug!(%error, ?command, "not yet");
            self.deferred.push_back(command);
        }
    }

    fn begin(&self, partition: u32, offset: u64) -> Result<(), KafkaError> {
        if !self.shared.partitions().assigned.contains_key(&partition) {
            return Ok(());
        }
        self.consumer.seek(&self.shared.topic, native_partition(partition), native_offset(offset), SEEK_WITHIN)?;
        let mut state = self.shared.partitions();
        let Some(assigned) = state.assigned.get_mut(&partition) else { return Ok(()) };
        assigned.has_begun = true;
        assigned.next = offset;
        let is_wanted = !assigned.is_paused && !self.is_throttled;
        drop(state);
        if is_wanted {
            self.consumer.resume(&self.shared.list(std::iter::once(partition), Offset::Invalid)?)?;
        }
        Ok(())
    }

    fn set_paused(&self, partition: u32, is_paused: bool) -> Result<(), KafkaError> {
        let mut state = self.shared.partitions();
        let Some(assigned) = state.assigned.get_mut(&partition) else { return Ok(()) };
        assigned.is_paused = is_paused;
        let is_fetching = assigned.has_begun && !self.is_throttled;
        drop(state);
        if !is_fetching {
            return Ok(());
        }
        let list = self.shared.list(std::iter::once(partition), Offset::Invalid)?;
        if is_paused { self.consumer.pause(&list) } else { self.consumer.resume(&list) }
    }

    /// Tells the user of new partitions, with what the group has committed of them.
    fn announce(&self) -> Result<(), LogError> {
        let new = self.shared.partitions().unannounced.clone();
        if new.is_empty() {
            return Ok(());
        }
        let (assignments, bounds) = match self.look_up(&new) {
            Ok(found) => found,
            Err(LogError::Unavailable(error)) => {
                tracing::warn!(error, topic = self.shared.topic, "asking for committed offsets; trying again");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.shared.partitions().unannounced.clear();
        self.shared.held.write().unwrap_or_else(PoisonError::into_inner).extend(bounds);
        self.shared.mailbox.push(Ok(Delivery::Assigned(assignments)));
        Ok(())
    }

    fn look_up(&self, new: &[u32]) -> Result<(Vec<Assignment>, BTreeMap<u32, Bounds>), LogError> {
        let asked = self.shared.list(new.iter().copied(), Offset::Invalid).map_err(unavailable)?;
        let answer = self.consumer.committed_offsets(asked, self.shared.config.request_timeout()).map_err(unavailable)?;
        let partitions = new.iter().max().map_or(0, |last| last + 1);
        let committed = offsets_of(&answer, &self.shared.topic, partitions)?;
        let of = |partition: u32| usize::try_from(partition).ok().and_then(|p| committed.get(p).copied().flatten());
        let assignments = new.iter().map(|p| Assignment { partition: *p, committed: of(*p) }).collect();
        let bounds = new.iter().map(|p| Ok((*p, self.shared.bounds(&self.consumer, *p)?))).collect::<Result<_, LogError>>()?;
        Ok((assignments, bounds))
    }

    /// Stops and restarts fetching by what the user has not taken yet. False where this turn should take nothing.
    fn make_room(&mut self) -> bool {
        let budget = self.shared.config.consume_buffer_bytes;
        let bytes = self.shared.mailbox.bytes();
        if self.is_throttled {
            if bytes <= budget / 2 {
                self.is_throttled = false;
                self.fetch(true);
            }
            return true;
        }
        if bytes < budget {
            return true;
        }
        let deadline = Instant::now() + ROOM_WITHIN;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.shared.mailbox.wait(left);
            if self.shared.mailbox.bytes() < budget || self.shared.is_leaving() {
                return false;
            }
            self.obey();
        }
        self.is_throttled = true;
        self.fetch(false);
        // The membership needs polls all the same.
        true
    }

    fn fetch(&self, is_wanted: bool) {
        let wanted: Vec<u32> = self
            .shared
            .partitions()
            .assigned
            .iter()
            .filter(|(_, a)| a.has_begun && !a.is_paused)
            .map(|(partition, _)| *partition)
            .collect();
        let outcome = self
            .shared
            .list(wanted.into_iter(), Offset::Invalid)
            .and_then(|list| if is_wanted { self.consumer.resume(&list) } else { self.consumer.pause(&list) });
        if let Err(error) = outcome {
            tracing::error!(%error, topic = self.shared.topic, is_wanted, "switching the fetching");
        }
    }

    /// Polls, and hands over what has come.
    fn collect(&self) -> Result<(), LogError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        let mut wait = POLL;
        let rebalances = self.shared.partitions().rebalances;
        let outcome = loop {
            match self.consumer.poll(wait) {
                None => break Ok(()),
                Some(Err(error)) => break self.failed(&error),
                Some(Ok(message)) => {
                    let Some(record) = self.accept(&message) else { continue };
                    bytes += record.weight();
                    records.push(record);
                }
            }
            if records.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                break Ok(());
            }
            wait = Duration::ZERO;
        };
        // A poll may have carried out a rebalance: then what came before it is not this consumer's any more.
        if !records.is_empty() && self.shared.partitions().rebalances == rebalances {
            self.shared.mailbox.push(Ok(Delivery::Records(records)));
        }
        outcome
    }

    fn accept(&self, message: &rdkafka::message::BorrowedMessage<'_>) -> Option<LogRecord> {
        let (partition, offset) = (u32::try_from(message.partition()).ok()?, u64::try_from(message.offset()).ok()?);
        let mut state = self.shared.partitions();
        let assigned = state.assigned.get_mut(&partition)?;
        if !assigned.has_begun || offset < assigned.next {
            return None;
        }
        assigned.next = offset + 1;
        drop(state);
        Some(record::from_message(message))
    }

    fn failed(&self, error: &KafkaError) -> Result<(), LogError> {
        if let KafkaError::MessageConsumptionFatal(code) = error {
            return Err(LogError::Broken(format!("the consumer cannot go on: {code}")));
        }
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => self.out_of_range(),
            Some(code) if is_unknown_topic(code) => Err(LogError::UnknownTopic(self.shared.topic.clone())),
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::Authentication,
            ) => Err(LogError::Unavailable(error.to_string())),
            _ => {
                // librdkafka tries again by itself.
                tracing::warn!(%error, topic = self.shared.topic, "consuming");
                Ok(())
            }
        }
    }

    /// A partition's position is not in the log. librdkafka does not say which one.
    fn out_of_range(&self) -> Result<(), LogError> {
        let begun: Vec<(u32, u64)> =
            self.shared.partitions().assigned.iter().filter(|(_, a)| a.has_begun).map(|(partition, a)| (*partition, a.next)).collect();
        for (partition, offset) in begun {
            let bounds = self.shared.bounds(&self.consumer, partition)?;
            if !(bounds.start..=bounds.end).contains(&offset) {
                return Err(outside(&self.shared.topic, partition, offset, bounds));
            }
        }
        Ok(())
    }
}

struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.let_go();
        self.0.mailbox.end();
    }
}
