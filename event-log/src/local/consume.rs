//! A member of a group as its user sees it: notices in order, then records of the partitions that have begun.

use super::batch::Offsets;
use super::failure::Failure;
use super::group::{MemberCommitter, Membership, Notice};
use super::read::{Connections, Fetched, Fetching, Progress, Span, rotate};
use super::{LocalLog, check_offset};
use crate::{Assignment, Committer, Delivery, GroupConsumer, LogError, LogRecord};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// A consumer of this process.
pub(super) struct Consumer {
    membership: Membership,
    connections: Arc<Connections>,
    failure: Arc<Failure>,
    changed: watch::Receiver<()>,
    held: BTreeMap<u32, Held>,
    /// An assignment whose committed offsets are still asked for.
    assigning: Option<(Vec<u32>, oneshot::Receiver<Offsets>)>,
    fetching: Option<Fetching>,
    last_session: u64,
    turn: usize,
    /// Keeps the log open.
    _log: Arc<LocalLog>,
}

/// A partition that was assigned.
#[derive(Debug)]
struct Held {
    /// Tells apart two times of holding the partition.
    session: u64,
    /// Next offset to deliver; `None` before it has begun.
    position: Option<u64>,
    is_paused: bool,
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("membership", &self.membership).field("held", &self.held).finish_non_exhaustive()
    }
}

impl Consumer {
    pub(super) fn new(log: Arc<LocalLog>, membership: Membership) -> Self {
        Self {
            connections: Arc::clone(&log.connections),
            failure: Arc::clone(&log.failure),
            changed: membership.topic.watch(),
            membership,
            held: BTreeMap::new(),
            assigning: None,
            fetching: None,
            last_session: 0,
            turn: 0,
            _log: log,
        }
    }

    async fn next_delivery(&mut self) -> Result<Delivery, LogError> {
        loop {
            self.failure.check()?;
            if let Some(assignments) = self.finish_assignment().await? {
                return Ok(Delivery::Assigned(assignments));
            }
            match self.membership.mailbox.take() {
                Some(Notice::Assigned(partitions, committed)) => {
                    self.assigning = Some((partitions, committed));
                    continue;
                }
                Some(Notice::Revoked(revocation, _)) => {
                    self.held.retain(|partition, _| !revocation.partitions.contains(partition));
                    return Ok(Delivery::Revoked(revocation));
                }
                Some(Notice::Lost(partitions)) => {
                    self.held.retain(|partition, _| !partitions.contains(partition));
                    return Ok(Delivery::Lost(partitions));
                }
                None => {}
            }
            // Marked as seen before looking, so that nothing that comes meanwhile is slept over.
            self.changed.borrow_and_update();
            self.start_fetching();
            let Some(fetching) = &mut self.fetching else {
                tokio::select! {
                    () = self.membership.mailbox.arrival() => {}
                    // The topic, and with it the sender, lives as long as the consumer.
                    _ = self.changed.changed() => {}
                }
                continue;
            };
            let outcome = tokio::select! {
                biased;
                () = self.membership.mailbox.arrival() => continue,
                outcome = fetching => outcome,
            };
            self.fetching = None;
            let records = self.accept(outcome?)?;
            if !records.is_empty() {
                return Ok(Delivery::Records(records));
            }
        }
    }

    /// The assignment that is under way, once its committed offsets are known.
    async fn finish_assignment(&mut self) -> Result<Option<Vec<Assignment>>, LogError> {
        let Some((_, committed)) = &mut self.assigning else { return Ok(None) };
        let answer = committed.await;
        let Some((partitions, _)) = self.assigning.take() else { return Ok(None) };
        let committed = answer.map_err(|_| LogError::Unavailable("the log is closed".into()))??;
        let mut assignments = Vec::with_capacity(partitions.len());
        for partition in partitions {
            self.last_session += 1;
            self.held.insert(partition, Held { session: self.last_session, position: None, is_paused: false });
            assignments.push(Assignment { partition, committed: committed.get(partition as usize).copied().flatten() });
        }
        Ok(Some(assignments))
    }

    fn start_fetching(&mut self) {
        if self.fetching.is_some() {
            return;
        }
        let topic = &self.membership.topic;
        let partitions = topic.partitions();
        let mut spans: Vec<Span> = self
            .held
            .iter()
            .filter(|(_, held)| !held.is_paused)
            .filter_map(|(partition, held)| {
                let (from, end) = (held.position?, partitions.get(*partition as usize)?.bounds().end);
                (from < end).then_some(Span { partition: *partition, from, end, session: held.session })
            })
            .collect();
        if !spans.is_empty() {
            rotate(&mut spans, &mut self.turn);
            self.fetching = Some(Arc::clone(&self.connections).fetch(Arc::clone(topic), spans).boxed());
        }
    }

    /// The records of partitions that are still held as they were when the fetch began.
    fn accept(&mut self, fetched: Fetched) -> Result<Vec<LogRecord>, LogError> {
        let mut stale = Vec::new();
        for progress in &fetched.progress {
            let partition = progress.span.partition;
            match self.held.get_mut(&partition) {
                Some(held) if held.session == progress.span.session && held.position == Some(progress.span.from) => {
                    check_gap(&self.membership, progress)?;
                    held.position = Some(progress.next);
                }
                _ => stale.push(partition),
            }
        }
        let mut records = fetched.records;
        if !stale.is_empty() {
            records.retain(|record| !stale.contains(&record.partition));
        }
        Ok(records)
    }

    fn held(&mut self, partition: u32) -> Result<&mut Held, LogError> {
        self.held.get_mut(&partition).ok_or(LogError::NotHeld(partition))
    }
}

/// Records that were trimmed while a group reads them anew, from before its committed offset, are missed loudly.
fn check_gap(membership: &Membership, progress: &Progress) -> Result<(), LogError> {
    let (topic, span) = (&membership.topic, progress.span);
    // Compaction leaves gaps.
    if topic.is_compacted || progress.first == Some(span.from) {
        return Ok(());
    }
    let start = topic.partition(span.partition)?.bounds().start;
    Err(LogError::Trimmed { topic: topic.name.clone(), partition: span.partition, committed: span.from, start: start.max(span.from) })
}

impl GroupConsumer for Consumer {
    fn next(&mut self) -> BoxFuture<'_, Result<Delivery, LogError>> {
        self.next_delivery().boxed()
    }

    fn begin(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        let topic = Arc::clone(&self.membership.topic);
        let held = self.held(partition)?;
        check_offset(&topic.name, partition, offset, topic.partition(partition)?.bounds())?;
        held.position = Some(offset);
        Ok(())
    }

    fn pause(&mut self, partition: u32) -> Result<(), LogError> {
        self.held(partition)?.is_paused = true;
        Ok(())
    }

    fn resume(&mut self, partition: u32) -> Result<(), LogError> {
        self.held(partition)?.is_paused = false;
        Ok(())
    }

    fn committer(&self) -> Arc<dyn Committer> {
        Arc::new(self.membership.committer())
    }

    fn leave(self: Box<Self>) -> BoxFuture<'static, ()> {
        drop(self);
        std::future::ready(()).boxed()
    }
}

impl Committer for MemberCommitter {
    fn commit(&self, partition: u32, next_offset: u64) -> BoxFuture<'_, Result<(), LogError>> {
        async move {
            let outcome = self.enqueue(partition, next_offset)?;
            outcome.await.map_err(|_| LogError::Unavailable("the log is closed".into()))?
        }
        .boxed()
    }
}
