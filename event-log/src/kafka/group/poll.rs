//! The thread that polls librdkafka: carries out what the user wants, hands over what comes, and stops fetching while
//! the user has too much in hand. It never stops polling for long, which is what keeps the membership.

use super::rebalance::Callbacks;
use super::{Command, Held, Shared, Wish};
use crate::kafka::topics::offsets_of;
use crate::kafka::{is_unknown_topic, native_offset, native_partition, outside, record, unavailable};
use crate::{Assignment, Bounds, Delivery, LogError, LogRecord};
use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a poll waits; also how soon a command is seen.
const POLL: Duration = Duration::from_millis(20);
/// How long the thread waits for room before it pauses fetching. Pausing throws away what was fetched ahead.
const ROOM_WITHIN: Duration = Duration::from_millis(500);
const BATCH_RECORDS: usize = 1_000;
const BATCH_BYTES: usize = 256 << 10;
/// Partitions whose bounds are asked for at once when they are assigned.
const LOOKS_AT_ONCE: usize = 16;
const SEEK_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct PollingThread {
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
    pub(super) fn new(
        shared: Arc<Shared>,
        consumer: Arc<BaseConsumer<Callbacks>>,
        inbox: mpsc::Receiver<Command>,
        ended: oneshot::Sender<()>,
    ) -> Self {
        Self { shared, consumer, inbox, deferred: VecDeque::new(), is_throttled: false, _ended: ended }
    }

    pub(super) fn run(mut self) {
        // Also when this thread panics: the user must hear of it.
        let _end = EndOnDrop(Arc::clone(&self.shared));
        while !self.shared.is_leaving() {
            if let Err(error) = self.turn() {
                // librdkafka does not read on from a position that is not in the log.
                let is_final = matches!(error, LogError::Broken(_) | LogError::Trimmed { .. } | LogError::BeyondEnd { .. });
                self.shared.push(Err(error));
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
        if self.shared.partitions().round != command.round {
            return;
        }
        let Command { partition, wish, .. } = command;
        let outcome = match wish {
            Wish::Begin { offset } => self.begin(partition, offset),
            Wish::Pause => self.set_paused(partition, true),
            Wish::Resume => self.set_paused(partition, false),
        };
        if let Err(error) = outcome {
            // An assignment that librdkafka has not carried out yet, or one that is gone: then its next poll says so.
            tracing::debug!(%error, ?command, "not yet");
            self.deferred.push_back(command);
        }
    }

    fn begin(&self, partition: u32, offset: u64) -> Result<(), KafkaError> {
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
        let round = {
            let mut state = self.shared.partitions();
            state.unannounced.clear();
            state.round
        };
        let held = bounds.into_iter().map(|(partition, bounds)| (partition, Held { bounds, round }));
        self.shared.held.write().unwrap_or_else(PoisonError::into_inner).extend(held);
        self.shared.push(Ok(Delivery::Assigned(assignments)));
        Ok(())
    }

    fn look_up(&self, new: &[u32]) -> Result<(Vec<Assignment>, BTreeMap<u32, Bounds>), LogError> {
        let asked = self.shared.list(new.iter().copied(), Offset::Invalid).map_err(unavailable)?;
        let answer = self.consumer.committed_offsets(asked, self.shared.config.request_timeout()).map_err(unavailable)?;
        let partitions = new.iter().max().map_or(0, |last| last + 1);
        let committed = offsets_of(&answer, &self.shared.topic, partitions)?;
        let of = |partition: u32| usize::try_from(partition).ok().and_then(|p| committed.get(p).copied().flatten());
        let assignments = new.iter().map(|p| Assignment { partition: *p, committed: of(*p) }).collect();
        Ok((assignments, self.bounds(new)?))
    }

    /// The bounds of partitions, several asked for at once: each takes a round trip or two.
    fn bounds(&self, partitions: &[u32]) -> Result<BTreeMap<u32, Bounds>, LogError> {
        let (shared, consumer) = (&*self.shared, &*self.consumer);
        let of = |part: &[u32]| part.iter().map(|p| Ok((*p, shared.bounds(consumer, *p)?))).collect::<Result<Vec<_>, LogError>>();
        let parts = partitions.chunks(partitions.len().div_ceil(LOOKS_AT_ONCE).max(1));
        let found: Vec<_> = std::thread::scope(|scope| {
            let asked: Vec<_> = parts.map(|part| scope.spawn(move || of(part))).collect();
            let broken = |_| Err(LogError::Unavailable("asking for the bounds of partitions".into()));
            asked.into_iter().map(|part| part.join().unwrap_or_else(broken)).collect()
        });
        Ok(found.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
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
        let round = self.shared.partitions().round;
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
        if !records.is_empty() && self.shared.partitions().round == round {
            self.shared.push(Ok(Delivery::Records(records)));
        }
        outcome
    }

    fn accept(&self, message: &BorrowedMessage<'_>) -> Option<LogRecord> {
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

    /// A partition's position is not in the log. librdkafka does not say which one, and does not read on there.
    fn out_of_range(&self) -> Result<(), LogError> {
        let begun: Vec<(u32, u64)> =
            self.shared.partitions().assigned.iter().filter(|(_, a)| a.has_begun).map(|(partition, a)| (*partition, a.next)).collect();
        if begun.is_empty() {
            // Told of an assignment that is gone.
            return Ok(());
        }
        for (partition, offset) in begun {
            let bounds = self.shared.bounds(&self.consumer, partition)?;
            if !(bounds.start..=bounds.end).contains(&offset) {
                return Err(outside(&self.shared.topic, partition, offset, bounds));
            }
        }
        // Within it again, and librdkafka has stopped fetching all the same (`rd_kafka_offset_reset`). The log may have been
        // cut and grown anew since: only a start from the committed offset looks at what lies there.
        Err(LogError::Broken(format!("{}: the log was cut, or its leader changed, behind a partition's position", self.shared.topic)))
    }
}

struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.let_go();
        self.0.mailbox.end();
    }
}
