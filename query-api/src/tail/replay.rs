//! Reads a bounded stretch of the events topic again, for a watcher who comes back.

use super::Tail;
use super::tailed::{EventFilter, TailedEvent};
use event_log::{LogError, LogRecord, ReadFrom, Reader};
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// A replay that takes longer is given up.
const WITHIN: Duration = Duration::from_secs(30);

/// A stretch of the topic, from where the watcher was to where it watches again.
pub(super) struct Replay {
    from: Vec<u64>,
    to: Vec<u64>,
    source: Source,
    batch: Vec<LogRecord>,
    found: VecDeque<TailedEvent>,
    deadline: Instant,
}

/// Opening is kept over a cancelled wait: else one that takes long would begin again and again.
enum Source {
    Closed,
    Opening(BoxFuture<'static, Result<Opened, LogError>>),
    Open { reader: Box<dyn Reader>, _permit: OwnedSemaphorePermit },
}

struct Opened {
    permit: OwnedSemaphorePermit,
    reader: Box<dyn Reader>,
    /// Where reading begins, by partition: later than asked for where the log starts later.
    from: Vec<u64>,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Replayed {
    /// An event that fits.
    Event(TailedEvent),
    /// So many records could not be read again.
    Missed(u64),
    /// That was all.
    Done,
}

impl Replay {
    pub(super) fn new(from: &[u64], to: Vec<u64>) -> Self {
        Self {
            from: from.to_vec(),
            to,
            source: Source::Closed,
            batch: Vec::new(),
            found: VecDeque::new(),
            deadline: Instant::now() + WITHIN,
        }
    }

    /// The next offsets when all is read: never before those where it began.
    pub(super) fn into_end(self) -> Vec<u64> {
        self.from.iter().zip(&self.to).map(|(from, to)| *from.max(to)).collect()
    }

    /// Waits for the next event of the stretch. Safe to cancel.
    pub(super) async fn next(&mut self, tail: &Arc<Tail>, filter: &EventFilter) -> Replayed {
        loop {
            if let Some(event) = self.found.pop_front() {
                return Replayed::Event(event);
            }
            if self.left() == 0 {
                self.source = Source::Closed;
                return Replayed::Done;
            }
            match tokio::time::timeout_at(self.deadline, self.read(tail)).await {
                Ok(Ok(Read::Records(records))) => self.take(&records, filter, tail.epoch),
                Ok(Ok(Read::Trimmed(count))) => return Replayed::Missed(count),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "events cannot be read again");
                    return self.give_up();
                }
                Err(_) => return self.give_up(),
            }
        }
    }

    async fn read(&mut self, tail: &Arc<Tail>) -> Result<Read, LogError> {
        if let Source::Closed = self.source {
            self.source = Source::Opening(Box::pin(open(Arc::clone(tail), self.from.clone(), self.to.clone())));
        }
        if let Source::Opening(opening) = &mut self.source {
            let opened = opening.await;
            self.source = Source::Closed;
            let Opened { permit, reader, from } = opened?;
            self.source = Source::Open { reader, _permit: permit };
            let trimmed = from.iter().zip(&self.from).map(|(now, before)| now.saturating_sub(*before)).sum();
            self.from = from;
            if trimmed > 0 {
                return Ok(Read::Trimmed(trimmed));
            }
        }
        let Source::Open { reader, .. } = &mut self.source else { return Ok(Read::Records(Vec::new())) };
        if self.batch.is_empty() {
            self.batch = reader.next().await?;
        }
        // The batch is kept while its schemas are looked up: a cancelled wait loses nothing.
        tail.schemas.learn(&self.batch).await?;
        Ok(Read::Records(std::mem::take(&mut self.batch)))
    }

    fn take(&mut self, records: &[LogRecord], filter: &EventFilter, epoch: u32) {
        for record in records {
            let partition = record.partition as usize;
            let Some((from, to)) = self.from.get_mut(partition).zip(self.to.get(partition)) else { continue };
            if record.offset < *from {
                continue;
            }
            *from = (*from).max((record.offset + 1).min(*to));
            if record.offset < *to
                && let Some(event) = TailedEvent::of(record).filter(|event| filter.takes(event))
            {
                self.found.push_back(TailedEvent::new(&event, record, epoch));
            }
        }
    }

    fn left(&self) -> u64 {
        self.from.iter().zip(&self.to).map(|(from, to)| to.saturating_sub(*from)).sum()
    }

    fn give_up(&mut self) -> Replayed {
        let left = self.left();
        for (from, to) in self.from.iter_mut().zip(&self.to) {
            *from = (*from).max(*to);
        }
        Replayed::Missed(left)
    }
}

async fn open(tail: Arc<Tail>, mut from: Vec<u64>, to: Vec<u64>) -> Result<Opened, LogError> {
    let closed = |_| LogError::Unavailable("shutting down".into());
    let permit = Arc::clone(&tail.replays).acquire_owned().await.map_err(closed)?;
    let bounds = tail.bounds().await?;
    for ((from, to), bounds) in from.iter_mut().zip(&to).zip(&bounds).filter(|((from, to), _)| **from < **to) {
        *from = (*from).max(bounds.start.min(*to));
    }
    let begin = from.iter().zip(&to).zip(&bounds).map(|((from, to), b)| (*from.min(to)).clamp(b.start, b.end));
    let begin = ReadFrom::Offsets((0..).zip(begin).collect());
    let reader = Arc::clone(&tail.log).read(&tail.topic, begin).await?;
    Ok(Opened { permit, reader, from })
}

enum Read {
    Records(Vec<LogRecord>),
    Trimmed(u64),
}
