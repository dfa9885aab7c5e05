//! Those who watch raw events, and the newest events that they share. Pure state behind one lock: no I/O, no tasks.
//!
//! Events are kept once, bounded in number and bytes; a watcher holds only the numbers of the events that fit it,
//! bounded too. What a slow watcher lost is counted exactly: only events that it wanted.

use super::tailed::{EventFilter, TailedEvent};
use event_log::LogRecord;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Bounds of what is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Events kept for all watchers.
    pub(super) events: usize,
    /// Their bytes.
    pub(super) bytes: usize,
    /// Events that wait for one watcher.
    pub(super) queue: usize,
}

/// The watchers and the events that they share.
#[derive(Debug)]
pub(super) struct Watchers {
    bounds: Bounds,
    epoch: u32,
    kept: VecDeque<Arc<TailedEvent>>,
    kept_bytes: usize,
    /// Number of the oldest event kept.
    first: u64,
    /// The next offset of each partition: everything before was told.
    next: Vec<u64>,
    watchers: Vec<Arc<Watcher>>,
}

/// One who watches.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) filter: EventFilter,
    queue: Mutex<Queue>,
    pub(super) arrived: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    numbers: VecDeque<u64>,
    missed: u64,
    /// Records that the reader itself could not get; nobody knows which watchers they were for.
    unread: u64,
}

/// What a watcher finds.
#[derive(Debug)]
pub(super) enum Found {
    /// The next event.
    Event(Arc<TailedEvent>),
    /// So many events were lost, then come others.
    Missed(u64),
    /// So many records were lost before anybody looked at them.
    Unread(u64),
    /// Nothing for now.
    Nothing,
}

impl Watchers {
    pub(super) fn new(bounds: Bounds, epoch: u32) -> Self {
        Self { bounds, epoch, kept: VecDeque::new(), kept_bytes: 0, first: 0, next: Vec::new(), watchers: Vec::new() }
    }

    /// A new watcher; it is told of everything from [`Watchers::next`] on.
    pub(super) fn add(&mut self, filter: EventFilter) -> Arc<Watcher> {
        let watcher = Arc::new(Watcher { filter, queue: Mutex::default(), arrived: Notify::new() });
        self.watchers.push(Arc::clone(&watcher));
        watcher
    }

    pub(super) fn remove(&mut self, watcher: &Arc<Watcher>) {
        self.watchers.retain(|w| !Arc::ptr_eq(w, watcher));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.watchers.is_empty()
    }

    /// The next offset of each partition.
    pub(super) fn next(&self) -> &[u64] {
        &self.next
    }

    /// Reading begins anew at these offsets.
    pub(super) fn begin_at(&mut self, next: Vec<u64>) {
        self.next = next;
        self.first += self.kept.len() as u64;
        self.kept.clear();
        self.kept_bytes = 0;
    }

    /// Reading goes on at these offsets, `unread` records later than it should.
    pub(super) fn go_on_at(&mut self, next: Vec<u64>, unread: u64) {
        self.next = next;
        if unread == 0 {
            return;
        }
        for watcher in &self.watchers {
            watcher.queue.lock().expect("no panic while held").unread += unread;
            watcher.arrived.notify_one();
        }
    }

    /// Tells the watchers of records.
    pub(super) fn take(&mut self, records: &[LogRecord]) {
        let mut fitting: Vec<Vec<u64>> = vec![Vec::new(); self.watchers.len()];
        for record in records {
            if !self.advance(record) {
                continue;
            }
            let Some(event) = TailedEvent::of(record) else { continue };
            let number = self.first + self.kept.len() as u64;
            let mut is_wanted = false;
            for (watcher, fitting) in self.watchers.iter().zip(&mut fitting) {
                if watcher.filter.takes(&event) {
                    fitting.push(number);
                    is_wanted = true;
                }
            }
            if is_wanted {
                self.keep(TailedEvent::new(&event, record, self.epoch));
            }
        }
        for (watcher, numbers) in self.watchers.iter().zip(fitting).filter(|(_, numbers)| !numbers.is_empty()) {
            watcher.push(numbers, self.bounds.queue);
        }
    }

    /// Notes that the record was read; false where it was before.
    fn advance(&mut self, record: &LogRecord) -> bool {
        let partition = record.partition as usize;
        if self.next.len() <= partition {
            self.next.resize(partition + 1, 0);
        }
        let is_new = record.offset >= self.next[partition];
        if is_new {
            self.next[partition] = record.offset + 1;
        }
        is_new
    }

    fn keep(&mut self, event: TailedEvent) {
        self.kept_bytes += event.weight();
        self.kept.push_back(Arc::new(event));
        while self.kept.len() > self.bounds.events || (self.kept_bytes > self.bounds.bytes && self.kept.len() > 1) {
            if let Some(oldest) = self.kept.pop_front() {
                self.kept_bytes -= oldest.weight();
                self.first += 1;
            }
        }
    }

    /// What is next for a watcher.
    pub(super) fn next_of(&self, watcher: &Watcher) -> Found {
        let mut queue = watcher.queue.lock().expect("no panic while held");
        while queue.numbers.front().is_some_and(|n| *n < self.first) {
            queue.numbers.pop_front();
            queue.missed += 1;
        }
        if queue.missed > 0 {
            return Found::Missed(std::mem::take(&mut queue.missed));
        }
        let Some(number) = queue.numbers.pop_front() else {
            let unread = std::mem::take(&mut queue.unread);
            return if unread > 0 { Found::Unread(unread) } else { Found::Nothing };
        };
        self.kept.get((number - self.first) as usize).map_or(Found::Missed(1), |event| Found::Event(Arc::clone(event)))
    }
}

impl Watcher {
    fn push(&self, numbers: Vec<u64>, most: usize) {
        let mut queue = self.queue.lock().expect("no panic while held");
        queue.numbers.extend(numbers);
        let too_many = queue.numbers.len().saturating_sub(most);
        queue.numbers.drain(..too_many);
        queue.missed += too_many as u64;
        drop(queue);
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use schemas::codec::{WireForm, encode_event};
    use schemas::{AgentEvent, MessageType};

    fn record(partition: u32, offset: u64, agent: &str) -> LogRecord {
        let event = AgentEvent::new(agent, 0, format!("e{offset}"), MessageType::Error);
        let value = encode_event(&event, WireForm::SingleObject).into();
        LogRecord { partition, offset, appended_at_ms: 0, key: Bytes::new(), value, headers: Vec::new() }
    }

    fn records(offsets: std::ops::Range<u64>, agent: &str) -> Vec<LogRecord> {
        offsets.map(|o| record(0, o, agent)).collect()
    }

    fn only(agent: &str) -> EventFilter {
        EventFilter { agents: Some([agent.to_owned()].into_iter().collect()), ..EventFilter::default() }
    }

    /// Offsets of the events found; missed ones as negative counts.
    fn drain(watchers: &Watchers, watcher: &Watcher) -> Vec<i64> {
        let mut found = Vec::new();
        loop {
            match watchers.next_of(watcher) {
                Found::Event(event) => found.push(event.offset as i64),
                Found::Missed(count) | Found::Unread(count) => found.push(-(count as i64)),
                Found::Nothing => return found,
            }
        }
    }

    fn watchers(events: usize, queue: usize) -> Watchers {
        let mut watchers = Watchers::new(Bounds { events, bytes: 1 << 20, queue }, 0);
        watchers.begin_at(vec![0]);
        watchers
    }

    #[test]
    fn each_watcher_gets_what_it_wants_in_order() {
        let mut watchers = watchers(100, 100);
        let (all, a) = (watchers.add(EventFilter::default()), watchers.add(only("a")));
        watchers.take(&[record(0, 0, "a"), record(0, 1, "b"), record(0, 2, "a")]);
        assert_eq!(drain(&watchers, &all), [0, 1, 2]);
        assert_eq!(drain(&watchers, &a), [0, 2]);
        assert_eq!(watchers.next(), [3]);
    }

    #[test]
    fn a_slow_watcher_loses_the_oldest_and_learns_how_many_it_wanted() {
        let mut watchers = watchers(100, 3);
        let (all, b) = (watchers.add(EventFilter::default()), watchers.add(only("b")));
        watchers.take(&records(0..10, "a"));
        watchers.take(&records(10..12, "b"));
        assert_eq!(drain(&watchers, &all), [-9, 9, 10, 11]);
        assert_eq!(drain(&watchers, &b), [10, 11]);
        assert!(drain(&watchers, &b).is_empty());
    }

    #[test]
    fn what_is_no_longer_kept_counts_as_missed() {
        let mut watchers = watchers(4, 100);
        let (all, b) = (watchers.add(EventFilter::default()), watchers.add(only("b")));
        watchers.take(&records(0..2, "b"));
        watchers.take(&records(2..8, "a"));
        assert_eq!(drain(&watchers, &b), [-2]);
        assert_eq!(drain(&watchers, &all), [-4, 4, 5, 6, 7]);
    }

    #[test]
    fn bytes_kept_are_bounded() {
        let mut watchers = Watchers::new(Bounds { events: 1_000, bytes: 10_000, queue: 1_000 }, 0);
        let all = watchers.add(EventFilter::default());
        watchers.take(&records(0..1_000, "a"));
        assert!(watchers.kept_bytes <= 10_000 && watchers.kept.len() > 5);
        let found = drain(&watchers, &all);
        assert_eq!(-found[0] + found.len() as i64 - 1, 1_000);
    }

    #[test]
    fn a_record_read_again_is_not_told_again() {
        let mut watchers = watchers(100, 100);
        let all = watchers.add(EventFilter::default());
        watchers.take(&records(0..3, "a"));
        watchers.take(&records(1..5, "a"));
        assert_eq!(drain(&watchers, &all), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn nothing_is_kept_that_nobody_wants() {
        let mut watchers = watchers(100, 100);
        let b = watchers.add(only("b"));
        watchers.take(&records(0..50, "a"));
        assert!(watchers.kept.is_empty());
        watchers.begin_at(vec![100]);
        watchers.take(&[record(0, 100, "b")]);
        assert_eq!(drain(&watchers, &b), [100]);
        watchers.remove(&b);
        assert!(watchers.is_empty());
    }
}
