//! What the log can take now: the bytes that wait in its queue, and whether it lately had no room for a record.

use crate::{AppendError, LogError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So long a record that found no room is news. Longer than a client waits before it tries again.
const MEMORY: Duration = Duration::from_secs(30);

/// Shared by producers and the writer.
#[derive(Debug)]
pub(super) struct Intake {
    bound: usize,
    queued: AtomicUsize,
    /// When a record last found no room; none since one was taken.
    refused: Mutex<Option<Instant>>,
}

impl Intake {
    pub(super) fn new(bound: usize) -> Self {
        Self { bound, queued: AtomicUsize::new(0), refused: Mutex::new(None) }
    }

    /// Takes room in the queue.
    pub(super) fn reserve(&self, bytes: usize) -> Result<(), AppendError> {
        let take = |queued: usize| queued.checked_add(bytes).filter(|queued| *queued <= self.bound);
        self.queued.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).map(drop).map_err(|_| AppendError::BufferFull)
    }

    pub(super) fn release(&self, bytes: usize) {
        self.queued.fetch_sub(bytes, Ordering::AcqRel);
    }

    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Acquire)
    }

    fn refused(&self) -> MutexGuard<'_, Option<Instant>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file or the disk had no room for a record.
    pub(super) fn note_refusal(&self) {
        *self.refused() = Some(Instant::now());
    }

    /// A record was taken.
    pub(super) fn note_room(&self) {
        *self.refused() = None;
    }

    /// Whether records are likely to be taken. A refusal is forgotten in time, so that a log from which traffic was
    /// led away for it gets some again.
    pub(super) fn check(&self) -> Result<(), LogError> {
        if self.queued() >= self.bound {
            return Err(LogError::Unavailable("the log's buffer is full".into()));
        }
        if self.refused().is_some_and(|at| at.elapsed() < MEMORY) {
            return Err(LogError::Unavailable("the log has no room left".into()));
        }
        Ok(())
    }
}
