//! The newest dead letters by position, read from their topic. Bounded: the oldest are forgotten first. As in a compacted
//! topic, a repeat of a position replaces what was there.

mod newest;

pub(crate) use newest::{Listed, Page, Place, Wanted};

use crate::backoff::Backoff;
use crate::registry::TopicSchemas;
use event_log::{Bounds, Log, LogError, LogRecord, Position, ReadFrom};
use newest::Newest;
use rustc_hash::{FxHashMap, FxHashSet};
use schemas::dead_letter::{DeadLetter, header};
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

/// What is known of a dead letter by its position.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Why it could not be processed.
    pub(crate) reason: Arc<str>,
    /// Partition and offset of the dead letter itself.
    pub(crate) place: (u32, u64),
    /// The position that the redriven event has.
    pub(crate) redriven_to: Option<Position>,
}

#[derive(Debug, Default)]
struct Index {
    known: FxHashMap<Position, Known>,
    order: VecDeque<Position>,
    newest: Newest,
    redriven: u64,
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
    /// The dead letter of that position; `None` where there is none (or one long forgotten).
    pub(crate) fn find(&self, position: Position) -> Option<Known> {
        self.lock().known.get(&position).cloned()
    }

    /// A page of the newest that the topic, with these bounds, still has.
    pub(crate) fn page(&self, wanted: &Wanted, bounds: &[Bounds]) -> Page {
        self.lock().newest.page(wanted, bounds)
    }

    /// Dead letters read since the start, repeats left out.
    pub(crate) fn total(&self) -> u64 {
        self.lock().total
    }

    /// How many of those kept were redriven.
    pub(crate) fn redriven(&self) -> u64 {
        self.lock().redriven
    }

    /// How many by reason, of those kept.
    pub(crate) fn by_reason(&self) -> Vec<(Arc<str>, u64)> {
        let mut counts: FxHashMap<Arc<str>, u64> = FxHashMap::default();
        for known in self.lock().known.values() {
            *counts.entry(Arc::clone(&known.reason)).or_default() += 1;
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
    pub(super) async fn follow(&self, log: Arc<dyn Log>, topic: String, schemas: TopicSchemas) {
        let mut backoff = Backoff::default();
        loop {
            let error = self.read_on(&log, &topic, &schemas, &mut backoff).await;
            tracing::warn!(%error, topic, "dead letters cannot be read; trying again");
            backoff.pause().await;
        }
    }

    async fn read_on(&self, log: &Arc<dyn Log>, topic: &str, schemas: &TopicSchemas, backoff: &mut Backoff) -> LogError {
        let mut reader = match Arc::clone(log).read(topic, ReadFrom::Start).await {
            Ok(reader) => reader,
            Err(error) => return error,
        };
        loop {
            match reader.next().await {
                Ok(records) => {
                    // Receipts wait for us: whose event it was may remain unknown, that there is a dead letter may not.
                    if let Err(error) = schemas.learn(&records).await {
                        tracing::warn!(%error, "dead letters are listed without their events");
                    }
                    self.take(&records);
                }
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
        metrics::gauge!("dead_letters_kept").set(index.known.len() as f64);
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
        let listed = Listed::of(record, position);
        let reason = self.reason_of(&listed.reason);
        let redriven_to = listed.redriven.as_ref().and_then(|(_, to)| to.parse().ok());
        self.newest.take(listed);
        self.redriven += u64::from(redriven_to.is_some());
        let known = Known { reason, place: (record.partition, record.offset), redriven_to };
        if let Some(former) = self.known.insert(position, known) {
            self.redriven -= u64::from(former.redriven_to.is_some());
            return;
        }
        self.total += 1;
        self.order.push_back(position);
        if self.order.len() > MOST_KEPT
            && let Some(oldest) = self.order.pop_front()
            && let Some(forgotten) = self.known.remove(&oldest)
        {
            self.redriven -= u64::from(forgotten.redriven_to.is_some());
        }
    }

    fn reason_of(&mut self, reason: &str) -> Arc<str> {
        let reason = if reason.len() <= LONGEST_REASON { reason } else { "unknown" };
        if let Some(known) = self.known_reasons.get(reason) {
            return Arc::clone(known);
        }
        let reason: Arc<str> = if self.known_reasons.len() < MOST_REASONS { reason.into() } else { "other".into() };
        self.known_reasons.insert(Arc::clone(&reason));
        reason
    }
}

/// The original's position: the record's key, else its header.
fn position_of(record: &LogRecord) -> Option<Position> {
    let parsed = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
    parsed(&record.key).or_else(|| parsed(DeadLetter::of(&record.headers).value(header::POSITION)?))
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
        assert_eq!(dead.find(position("0-3-12")).map(|known| (known.place, &*known.reason == "id_conflict")), Some(((0, 1), true)));
        assert!(dead.find(position("1-3-12")).is_none());
        assert_eq!(dead.total(), 2);
        assert_eq!(dead.by_reason().len(), 2);
        assert!(dead.has_read(&[Bounds { start: 0, end: 4 }]));
        assert!(!dead.has_read(&[Bounds { start: 0, end: 5 }]));
        assert!(dead.has_read(&[Bounds { start: 0, end: 4 }, Bounds { start: 9, end: 9 }]));
    }

    #[test]
    fn a_letter_that_says_where_it_went_replaces_the_one_that_did_not() {
        let dead = DeadLetters::default();
        let mut redriven = letter(1, "0-0-7", "invalid");
        dead.take(&[letter(0, "0-0-7", "invalid")]);
        assert_eq!(dead.redriven(), 0);
        redriven.headers.push((header::REDRIVEN_AT.into(), Bytes::from_static(b"2026-01-01T00:00:00Z")));
        redriven.headers.push((header::REDRIVEN_TO.into(), Bytes::from_static(b"0-1-3")));
        dead.take(&[redriven.clone(), redriven]);
        let position: Position = "0-0-7".parse().expect("a position");
        let to = dead.find(position).and_then(|known| known.redriven_to);
        assert_eq!((to.map(|to| to.to_string()), dead.redriven(), dead.total()), (Some("0-1-3".into()), 1, 1));
    }

    #[test]
    fn only_the_newest_letters_are_kept() {
        let dead = DeadLetters::default();
        let letters: Vec<_> = (0..MOST_KEPT as u64 + 5).map(|i| letter(i, &format!("0-0-{i}"), "too_old")).collect();
        dead.take(&letters);
        let index = dead.lock();
        assert_eq!((index.known.len(), index.order.len(), index.known_reasons.len()), (MOST_KEPT, MOST_KEPT, 1));
        assert!(!index.known.contains_key(&Position { epoch: 0, partition: 0, offset: 4 }));
    }
}
