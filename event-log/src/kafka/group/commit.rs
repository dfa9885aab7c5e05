//! Commits of a group's member, fenced and shared: what comes in while one request is with the broker goes out together
//! with the next one, so that many partitions cost no more round trips than few. Must not commit for a partition that the
//! caller does not hold any more.
//!
//! Why commits are fenced here too: within a generation the brokers take commits from any member for any partition.
//! A commit therefore runs under a read lock on the held partitions, and they are let go under its write lock. It is also
//! bound to the round in which its partition was handed to the caller: one that waited while the partition went and came
//! back speaks of another time.

use super::rebalance::Callbacks;
use super::{Held, Shared};
use crate::kafka::{about_topic, is_unknown_topic, native_offset, native_partition, outside};
use crate::{Committer, LogError};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::oneshot;

pub(super) struct KafkaCommitter {
    pub(super) shared: Arc<Shared>,
    /// The polling thread owns the consumer, so that it is closed there.
    pub(super) consumer: Weak<BaseConsumer<Callbacks>>,
    pub(super) queue: Arc<Queue>,
}

impl Committer for KafkaCommitter {
    fn commit(&self, partition: u32, next_offset: u64) -> BoxFuture<'_, Result<(), LogError>> {
        async move {
            let (done, outcome) = oneshot::channel();
            let round = self.shared.known_round.load(Ordering::Acquire);
            if self.queue.push(Request { partition, next_offset, round, done }) {
                let (shared, consumer, queue) = (Arc::clone(&self.shared), Weak::clone(&self.consumer), Arc::clone(&self.queue));
                // Answers by itself.
                drop(tokio::task::spawn_blocking(move || queue.work(|batch| commit(&shared, &consumer, batch))));
            }
            outcome.await.unwrap_or_else(|_| Err(LogError::Unavailable("the commit was not carried out".into())))
        }
        .boxed()
    }
}

impl KafkaCommitter {
    /// Whether a held partition can be read from that offset.
    pub(super) fn check_offset(&self, partition: u32, offset: u64) -> Result<(), LogError> {
        let held = self.shared.held.read().unwrap_or_else(PoisonError::into_inner);
        let mut bounds = held.get(&partition).ok_or(LogError::NotHeld(partition))?.bounds;
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

/// Commits that wait for the one under way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Request>,
    /// Whether somebody works on the queue.
    is_worked: bool,
}

#[derive(Debug)]
struct Request {
    partition: u32,
    next_offset: u64,
    /// The round in which the caller was given the partition.
    round: u64,
    done: oneshot::Sender<Result<(), LogError>>,
}

impl Request {
    /// Whether the partition is still held as it was given to the caller.
    fn is_of(&self, held: &BTreeMap<u32, Held>) -> bool {
        held.get(&self.partition).is_some_and(|held| held.round == self.round)
    }
}

impl Queue {
    /// Whether the caller must see to it that somebody works on the queue.
    fn push(&self, request: Request) -> bool {
        let mut state = self.state();
        state.waiting.push(request);
        !std::mem::replace(&mut state.is_worked, true)
    }

    /// Carries out what waits, all of it together, until nothing does.
    fn work(&self, mut commit: impl FnMut(&[Request]) -> Vec<Result<(), LogError>>) {
        let abandoned = Abandoned(self);
        loop {
            let mut state = self.state();
            let batch = std::mem::take(&mut state.waiting);
            if batch.is_empty() {
                state.is_worked = false;
                drop(state);
                return std::mem::forget(abandoned);
            }
            drop(state);
            let outcomes = commit(&batch);
            for (request, outcome) in batch.into_iter().zip(outcomes) {
                // Who asked may be gone.
                drop(request.done.send(outcome));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropped by a panic only: then what waits is told, and the next request starts anew.
struct Abandoned<'a>(&'a Queue);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_worked = false;
        state.waiting.clear();
    }
}

/// Commits for the partitions that are still held as they were; an outcome for each request.
fn commit(shared: &Shared, consumer: &Weak<BaseConsumer<Callbacks>>, batch: &[Request]) -> Vec<Result<(), LogError>> {
    // Kept until the broker has answered; see the module's comment.
    let held = shared.held.read().unwrap_or_else(PoisonError::into_inner);
    let consumer = consumer.upgrade().filter(|consumer| !consumer.assignment_lost());
    let is_theirs = |r: &Request| consumer.is_some() && r.is_of(&held);
    // Of two for one partition the later one stands, as it would have one after the other.
    let offsets: BTreeMap<u32, u64> = batch.iter().filter(|r| is_theirs(r)).map(|r| (r.partition, r.next_offset)).collect();
    let refused = consumer.as_ref().map(|consumer| refused(shared, consumer, &offsets)).unwrap_or_default();
    let outcome = |r: &Request| match refused.get(&r.partition) {
        _ if !is_theirs(r) => Err(LogError::NotHeld(r.partition)),
        Some(error) => Err(judged(error, &shared.topic, r.partition)),
        None => Ok(()),
    };
    batch.iter().map(outcome).collect()
}

/// Sends the offsets in one request; answers what was not taken.
///
/// librdkafka tells of success only where every partition was committed (`rd_kafka_handle_OffsetCommit`), so an error is
/// everybody's: all but one may have been taken, and will be again.
fn refused(shared: &Shared, consumer: &BaseConsumer<Callbacks>, offsets: &BTreeMap<u32, u64>) -> BTreeMap<u32, KafkaError> {
    let send = |offsets: &mut dyn Iterator<Item = (u32, u64)>| {
        let mut list = TopicPartitionList::new();
        for (partition, next_offset) in offsets {
            list.add_partition_offset(&shared.topic, native_partition(partition), native_offset(next_offset))?;
        }
        if list.count() == 0 { Ok(()) } else { consumer.commit(&list, CommitMode::Sync) }
    };
    let all = || offsets.iter().map(|(partition, next_offset)| (*partition, *next_offset));
    match send(&mut all()) {
        Ok(()) => BTreeMap::new(),
        // A partition that was added a moment ago, and that not every broker knows of, must not hold back the others.
        Err(error) if offsets.len() > 1 && error.rdkafka_error_code().is_some_and(is_unknown_topic) => {
            all().filter_map(|one| Some((one.0, send(&mut std::iter::once(one)).err()?))).collect()
        }
        Err(error) => offsets.keys().map(|partition| (*partition, error.clone())).collect(),
    }
}

fn judged(error: &KafkaError, topic: &str, partition: u32) -> LogError {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::IllegalGeneration
            | RDKafkaErrorCode::UnknownMemberId
            | RDKafkaErrorCode::FencedInstanceId
            | RDKafkaErrorCode::StaleMemberEpoch
            | RDKafkaErrorCode::FencedMemberEpoch,
        ) => LogError::NotHeld(partition),
        _ => about_topic(error.clone(), topic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bounds;

    type Outcome = oneshot::Receiver<Result<(), LogError>>;

    fn push(queue: &Queue, partition: u32) -> (bool, Outcome) {
        let (done, outcome) = oneshot::channel();
        (queue.push(Request { partition, next_offset: 1, round: 1, done }), outcome)
    }

    #[test]
    fn what_comes_while_one_request_is_under_way_goes_out_together() {
        let queue = Queue::default();
        let (must_work, first) = push(&queue, 0);
        assert!(must_work);
        let (mut requests, mut outcomes) = (Vec::new(), vec![first]);
        queue.work(|batch| {
            if requests.is_empty() {
                for partition in 1..100 {
                    let (must_work, outcome) = push(&queue, partition);
                    assert!(!must_work);
                    outcomes.push(outcome);
                }
            }
            requests.push(batch.len());
            batch.iter().map(|r| if r.partition == 7 { Err(LogError::NotHeld(7)) } else { Ok(()) }).collect()
        });
        assert_eq!(requests, [1, 99]);
        for (partition, mut outcome) in outcomes.into_iter().enumerate() {
            assert_eq!(outcome.try_recv().expect("answered").is_err(), partition == 7, "{partition}");
        }
        assert!(push(&queue, 0).0, "nobody works on an empty queue");
    }

    #[test]
    fn a_commit_is_bound_to_the_round_that_gave_the_partition() {
        let held = |round| BTreeMap::from([(3, Held { bounds: Bounds { start: 0, end: 9 }, round })]);
        let request = |partition, round| Request { partition, next_offset: 1, round, done: oneshot::channel().0 };
        assert!(request(3, 5).is_of(&held(5)));
        assert!(!request(3, 5).is_of(&held(7)), "it went and came back meanwhile");
        assert!(!request(4, 5).is_of(&held(5)) && !request(3, 5).is_of(&BTreeMap::new()));
    }

    #[test]
    fn a_panic_leaves_nobody_waiting() {
        let queue = Queue::default();
        let (_, mut outcome) = push(&queue, 0);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| queue.work(|_| panic!("as a test"))));
        assert!(panicked.is_err() && outcome.try_recv().is_err());
        assert!(push(&queue, 0).0);
    }
}
