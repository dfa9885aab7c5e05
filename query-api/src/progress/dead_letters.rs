//! The newest dead letters by position, read from their topic. Bounded: the oldest are forgotten first.

use crate::backoff::Backoff;
use event_log::{Bounds, Log, LogError, LogRecord, Position, ReadFrom};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;

/// Dead letters kept.
const MOST_KEPT: usize = 100_000;
/// Different reasons kept; others read "other".
const MOST_REASONS: usize = 256;
/// Longest reason shown.
const LONGEST_REASON: usize = 64;

/// An index of the dead-letter topic.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    index: Mutex<Index>,
    /// Turns with every batch read.
    read: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Index {
    reasons: FxHashMap<Position, Arc<str>>,
    order: VecDeque<Position>,
    known_reasons: FxHashSet<Arc<str>>,
    total: u64,
    next: Vec<u64>,
}

impl Default for DeadLetters {
    fn default() -> Self {
        Self { index: Mutex::default(), read: watch::Sender::new(()) }
    }
}

impl DeadLetters {
    /// Why the event of that position was not counted; `None` where it is no dead letter (or one long forgotten).
    pub(super) fn reason(&self, position: Position) -> Option<Arc<str>> {
        self.lock().reasons.get(&position).cloned()
    }

    /// Dead letters read since the start, repeats left out.
    pub(crate) fn total(&self) -> u64 {
        self.lock().total
    }

    /// How many by reason, of those kept.
    pub(crate) fn by_reason(&self) -> Vec<(Arc<str>, u64)> {
        let mut counts: FxHashMap<Arc<str>, u64> = FxHashMap::default();
        for reason in self.lock().reasons.values() {
            *counts.entry(Arc::clone(reason)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts
    }

    /// Whether everything within these bounds of the topic's partitions was read.
    pub(super) fn has_read(&self, bounds: &[Bounds]) -> bool {
        let index = self.lock();
        bounds.iter().enumerate().all(|(p, b)| index.next.get(p).copied().unwrap_or(0).max(b.start) >= b.end)
    }

    /// Tells of every batch read.
    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.read.subscribe()
    }

    /// Reads the topic for ever, from the start after every failure.
    pub(super) async fn follow(&self, log: Arc<dyn Log>, topic: String) {
        let mut backoff = Backoff::default();
        loop {
            let error = self.read_on(&log, &topic, &mut backoff).await;
            tracing::warn!(%error, topic, "dead letters cannot be read; trying again");
            backoff.pause().await;
        }
    }

    async fn read_on(&self, log: &Arc<dyn Log>, topic: &str, backoff: &mut Backoff) -> LogError {
        let mut reader = match Arc::clone(log).read(topic, ReadFrom::Start).await {
            Ok(reader) => reader,
            Err(error) => return error,
        };
        loop {
            match reader.next().await {
                Ok(records) => self.take(&records),
                Err(error) => return error,
            }
            backoff.reset();
        }
    }

    fn take(&self, records: &[LogRecord]) {
        let mut index = self.lock();
        for record in records {
            index.take(record);
        }
        metrics::gauge!("dead_letters_kept").set(index.reasons.len() as f64);
        drop(index);
        self.read.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().expect("no panic while held")
    }
}

impl Index {
    fn take(&mut self, record: &LogRecord) {
        let partition = record.partition as usize;
        if self.next.len() <= partition {
            self.next.resize(partition + 1, 0);
        }
        self.next[partition] = self.next[partition].max(record.offset + 1);
        let Some(position) = position_of(record) else { return };
        let reason = self.reason_of(record);
        if self.reasons.insert(position, reason).is_some() {
            return;
        }
        self.total += 1;
        self.order.push_back(position);
        if self.order.len() > MOST_KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }

    fn reason_of(&mut self, record: &LogRecord) -> Arc<str> {
        let reason = record.header("dead-reason").and_then(|r| std::str::from_utf8(r).ok()).filter(|r| r.len() <= LONGEST_REASON);
        let reason = reason.unwrap_or("unknown");
        if let Some(known) = self.known_reasons.get(reason) {
            return Arc::clone(known);
        }
        let reason: Arc<str> = if self.known_reasons.len() < MOST_REASONS { reason.into() } else { "other".into() };
        self.known_reasons.insert(Arc::clone(&reason));
        reason
    }
}

/// The event's own position: the record's key, else its header.
fn position_of(record: &LogRecord) -> Option<Position> {
    let parsed = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
    parsed(&record.key).or_else(|| parsed(record.header("dead-position")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn letter(offset: u64, position: &str, reason: &'static str) -> LogRecord {
        let headers = vec![("dead-reason".to_owned(), Bytes::from_static(reason.as_bytes()))];
        LogRecord {
            partition: 0,
            offset,
            appended_at_ms: 0,
            key: Bytes::copy_from_slice(position.as_bytes()),
            value: Bytes::new(),
            headers,
        }
    }

    #[test]
    fn a_letter_is_found_by_its_position_and_counted_once() {
        let dead = DeadLetters::default();
        dead.take(&[
            letter(0, "0-3-12", "id_conflict"),
            letter(1, "0-3-12", "id_conflict"),
            letter(2, "junk", "undecodable"),
            letter(3, "0-4-1", "too_old"),
        ]);
        let position = |text: &str| text.parse::<Position>().expect("a position");
        assert_eq!(dead.reason(position("0-3-12")).as_deref(), Some("id_conflict"));
        assert_eq!(dead.reason(position("1-3-12")), None);
        assert_eq!(dead.total(), 2);
        assert_eq!(dead.by_reason().len(), 2);
        assert!(dead.has_read(&[Bounds { start: 0, end: 4 }]));
        assert!(!dead.has_read(&[Bounds { start: 0, end: 5 }]));
        assert!(dead.has_read(&[Bounds { start: 0, end: 4 }, Bounds { start: 9, end: 9 }]));
    }

    #[test]
    fn only_the_newest_letters_are_kept() {
        let dead = DeadLetters::default();
        let letters: Vec<_> = (0..MOST_KEPT as u64 + 5).map(|i| letter(i, &format!("0-0-{i}"), "too_old")).collect();
        dead.take(&letters);
        let index = dead.lock();
        assert_eq!((index.reasons.len(), index.order.len(), index.known_reasons.len()), (MOST_KEPT, MOST_KEPT, 1));
        assert!(!index.reasons.contains_key(&Position { epoch: 0, partition: 0, offset: 4 }));
    }
}
