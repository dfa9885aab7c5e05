//! Raw events as they are appended to the log: one reader per process, started when the first watcher comes and
//! stopped a while after the last went, whatever their number.
//!
//! Each event is decoded once, whoever wants it; memory is bounded for all watchers together (see [`watchers`]).
//! Must not commit or count anything: what is shown here may be a repeat and may not be counted yet.

mod replay;
mod tailed;
mod watchers;

pub(crate) use tailed::WatchedEvent;
pub(crate) use tailed::{EventFilter, TailedEvent};

use crate::QueryConfig;
use crate::backoff::Backoff;
use crate::registry::TopicSchemas;
use event_log::{Log, LogError, ReadFrom};
use futures::future::try_join_all;
use replay::{Replay, Replayed};
use schemas::codec::EVENTS;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use watchers::{Bounds, Found, Watcher, Watchers};

/// Events kept for all watchers.
const KEPT_EVENTS: usize = 16_384;
/// Bytes of those events.
const KEPT_BYTES: usize = 16 << 20;
/// Events that wait for one watcher.
const QUEUE: usize = 1_000;
/// Records that are read again for a watcher who comes back.
const MOST_REPLAYED: u64 = 10_000;
/// Watchers for whom records are read again at the same time.
const REPLAYS: usize = 8;
const PATIENCE: Patience = Patience { start_within: Duration::from_secs(5), linger: Duration::from_secs(30) };

/// How long something is waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How long a watcher waits for the reader to start.
    start_within: Duration,
    /// How long the reader goes on without watchers.
    linger: Duration,
}

/// The tail of the events topic.
#[derive(Debug)]
pub struct Tail {
    log: Arc<dyn Log>,
    topic: String,
    epoch: u32,
    watchers: Mutex<Watchers>,
    state: watch::Sender<TailState>,
    wanted: Notify,
    replays: Arc<Semaphore>,
    patience: Patience,
    schemas: TopicSchemas,
}

/// Whether events arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TailState {
    /// Nobody watches.
    Idle,
    /// They do.
    Live,
    /// The log cannot be read, and why; reading goes on where it stopped.
    Interrupted(String),
}

/// What a watcher is told.
#[derive(Debug)]
pub(crate) enum Tailed {
    /// An event.
    Event(Arc<TailedEvent>),
    /// Events were lost.
    Missed(MissedEvents),
}

/// Events that a watcher did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MissedEvents {
    /// How many.
    pub(crate) count: u64,
    /// Whether only events that the watcher wanted were counted; else it is an upper bound.
    pub(crate) is_exact: bool,
}

impl Tail {
    /// A tail that begins to read when somebody watches.
    ///
    /// # Errors
    /// Where the schema registry's settings cannot be used.
    pub fn start(config: &QueryConfig, log: Arc<dyn Log>, shutdown: CancellationToken) -> anyhow::Result<Arc<Self>> {
        Self::start_with(config, log, shutdown, PATIENCE)
    }

    fn start_with(config: &QueryConfig, log: Arc<dyn Log>, shutdown: CancellationToken, patience: Patience) -> anyhow::Result<Arc<Self>> {
        let bounds = Bounds { events: KEPT_EVENTS, bytes: KEPT_BYTES, queue: QUEUE };
        let tail = Arc::new(Self {
            log,
            topic: config.topic_events.clone(),
            epoch: config.epoch,
            watchers: Mutex::new(Watchers::new(bounds, config.epoch)),
            state: watch::Sender::new(TailState::Idle),
            wanted: Notify::new(),
            replays: Arc::new(Semaphore::new(REPLAYS)),
            patience,
            schemas: TopicSchemas::new(&config.registry, &EVENTS)?,
        });
        let reading = Arc::clone(&tail);
        tokio::spawn(async move { shutdown.run_until_cancelled(reading.run()).await });
        Ok(tail)
    }

    /// Epoch of the log that the tail reads.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether events arrive.
    pub(crate) fn state(&self) -> TailState {
        self.state.borrow().clone()
    }

    /// Watches from now on, or, where it is not too long ago, from the offsets where the watcher was before.
    pub(crate) async fn watch(self: &Arc<Self>, filter: EventFilter, resume: Option<Vec<u64>>) -> Result<EventWatch, LogError> {
        let mut state = self.state.subscribe();
        let deadline = Instant::now() + self.patience.start_within;
        loop {
            {
                let mut watchers = self.lock();
                if *self.state.borrow() == TailState::Live {
                    let to = watchers.next().to_vec();
                    let watcher = watchers.add(filter);
                    return Ok(EventWatch::new(Arc::clone(self), watcher, resume, to));
                }
            }
            self.wanted.notify_one();
            if tokio::time::timeout_at(deadline, state.changed()).await.is_err() {
                let why = match self.state() {
                    TailState::Interrupted(why) => why,
                    _ => "it did not answer in time".into(),
                };
                return Err(LogError::Unavailable(why));
            }
        }
    }

    /// The next offset of each partition that the reader gets.
    #[cfg(test)]
    pub(crate) fn next_offsets_of_reader(&self) -> Vec<u64> {
        self.lock().next().to_vec()
    }

    fn lock(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().expect("no panic while held")
    }

    async fn run(&self) {
        loop {
            self.wanted.notified().await;
            if *self.state.borrow() != TailState::Idle {
                continue;
            }
            let mut backoff = Backoff::default();
            let mut is_begun = false;
            while let Err(error) = self.follow(&mut is_begun, &mut backoff).await {
                tracing::warn!(%error, topic = self.topic, "the tail of events is interrupted; trying again");
                self.state.send_replace(TailState::Interrupted(error.to_string()));
                backoff.pause().await;
                if !is_begun && self.lock().is_empty() && backoff.is_long() {
                    self.state.send_replace(TailState::Idle);
                    break;
                }
            }
        }
    }

    /// Reads until the log fails or nobody watches any more.
    async fn follow(&self, is_begun: &mut bool, backoff: &mut Backoff) -> Result<(), LogError> {
        let bounds = self.bounds().await?;
        let next: Vec<u64> = if *is_begun {
            // What the log no longer has is gone, and so is what lay beyond the end of a log made anew; a partition
            // that is new was not read at all.
            let told = self.lock().next().to_vec();
            let unread = told.iter().zip(&bounds).map(|(told, b)| b.start.saturating_sub(*told)).sum();
            let next: Vec<u64> =
                (0..).zip(&bounds).map(|(p, b): (usize, _)| told.get(p).map_or(b.start, |t| (*t).clamp(b.start, b.end))).collect();
            self.lock().go_on_at(next.clone(), unread);
            next
        } else {
            let ends: Vec<u64> = bounds.iter().map(|b| b.end).collect();
            self.lock().begin_at(ends.clone());
            *is_begun = true;
            ends
        };
        let from = ReadFrom::Offsets((0..).zip(next).collect());
        let mut reader = Arc::clone(&self.log).read(&self.topic, from).await?;
        self.state.send_replace(TailState::Live);
        let mut last_watched = Instant::now();
        let mut look = tokio::time::interval(self.patience.linger / 6);
        loop {
            tokio::select! {
                records = reader.next() => {
                    let records = records?;
                    self.schemas.learn(&records).await?;
                    backoff.reset();
                    metrics::counter!("event_tail_records_total").increment(records.len() as u64);
                    self.lock().take(&records);
                }
                _ = look.tick() => {
                    let watchers = self.lock();
                    if !watchers.is_empty() {
                        last_watched = Instant::now();
                    } else if last_watched.elapsed() >= self.patience.linger {
                        // Under the lock: a watcher who comes now starts the reader again.
                        self.state.send_replace(TailState::Idle);
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn bounds(&self) -> Result<Vec<event_log::Bounds>, LogError> {
        let partitions = self.log.partitions(&self.topic).await?;
        try_join_all((0..partitions).map(|partition| self.log.bounds(&self.topic, partition))).await
    }
}

/// One watcher's view. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct EventWatch {
    tail: Arc<Tail>,
    watcher: Arc<Watcher>,
    missed: Option<MissedEvents>,
    replay: Option<Replay>,
    next: Vec<u64>,
}

impl EventWatch {
    fn new(tail: Arc<Tail>, watcher: Arc<Watcher>, resume: Option<Vec<u64>>, to: Vec<u64>) -> Self {
        let Some(mut from) = resume else { return Self { tail, watcher, missed: None, replay: None, next: to } };
        // Partitions that the watcher has not heard of were added since.
        from.resize(to.len(), 0);
        let behind = from.iter().zip(&to).map(|(from, to)| to.saturating_sub(*from)).fold(0u64, u64::saturating_add);
        if behind > MOST_REPLAYED {
            let missed = Some(MissedEvents { count: behind, is_exact: false });
            return Self { tail, watcher, missed, replay: None, next: to };
        }
        let replay = (behind > 0).then(|| Replay::new(&from, to));
        Self { tail, watcher, missed: None, replay, next: from }
    }

    /// The next offset of each partition: everything before was told, or did not fit.
    pub(crate) fn next_offsets(&self) -> &[u64] {
        &self.next
    }

    /// Waits for the next thing to tell. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Tailed {
        loop {
            if let Some(missed) = self.missed.take() {
                return Tailed::Missed(missed);
            }
            if let Some(replay) = &mut self.replay {
                match replay.next(&self.tail, &self.watcher.filter).await {
                    Replayed::Event(event) => return self.told(Arc::new(event)),
                    Replayed::Missed(count) => return Tailed::Missed(MissedEvents { count, is_exact: false }),
                    Replayed::Done => self.next = self.replay.take().map(Replay::into_end).unwrap_or_default(),
                }
            }
            let found = {
                let watchers = self.tail.lock();
                let found = watchers.next_of(&self.watcher);
                if matches!(found, Found::Nothing) {
                    // Whatever came up to here did not fit: a resumption need not look at it again.
                    for (mine, told) in self.next.iter_mut().zip(watchers.next()) {
                        *mine = (*mine).max(*told);
                    }
                }
                found
            };
            match found {
                Found::Event(event) if self.was_told(&event) => {}
                Found::Event(event) => return self.told(event),
                Found::Missed(count) => return Tailed::Missed(MissedEvents { count, is_exact: true }),
                Found::Unread(count) => return Tailed::Missed(MissedEvents { count, is_exact: false }),
                // Whoever adds to the queue after this look leaves a permit.
                Found::Nothing => self.watcher.arrived.notified().await,
            }
        }
    }

    fn told(&mut self, event: Arc<TailedEvent>) -> Tailed {
        let partition = event.partition as usize;
        if self.next.len() <= partition {
            self.next.resize(partition + 1, 0);
        }
        self.next[partition] = event.offset + 1;
        Tailed::Event(event)
    }

    /// Whether the watcher was told before it came back, by another replica whose reader was ahead.
    fn was_told(&self, event: &TailedEvent) -> bool {
        self.next.get(event.partition as usize).is_some_and(|next| event.offset < *next)
    }
}

impl Drop for EventWatch {
    fn drop(&mut self) {
        self.tail.lock().remove(&self.watcher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_log::MemoryLog;
    use schemas::{AgentEvent, MessageType};
    use tokio_util::sync::DropGuard;

    fn tail(log: &Arc<MemoryLog>) -> (Arc<Tail>, DropGuard) {
        let shutdown = CancellationToken::new();
        let log: Arc<dyn Log> = Arc::clone(log) as _;
        let patience = Patience { start_within: Duration::from_millis(300), linger: Duration::from_millis(60) };
        let tail = Tail::start_with(&QueryConfig::default(), log, shutdown.clone(), patience).expect("settings");
        (tail, shutdown.drop_guard())
    }

    fn push(log: &MemoryLog, partition: usize, agent: &str) -> u64 {
        log.push_event(partition, &AgentEvent::new(agent, 0, "e", MessageType::Error))
    }

    fn only(agent: &str) -> EventFilter {
        EventFilter { agents: Some([agent.to_owned()].into_iter().collect()), ..EventFilter::default() }
    }

    async fn next(watch: &mut EventWatch) -> (u32, u64) {
        match watch.next().await {
            Tailed::Event(event) => (event.partition, event.offset),
            Tailed::Missed(missed) => panic!("{missed:?}"),
        }
    }

    async fn missed(watch: &mut EventWatch) -> MissedEvents {
        match watch.next().await {
            Tailed::Missed(missed) => missed,
            Tailed::Event(event) => panic!("{event:?}"),
        }
    }

    async fn until(tail: &Tail, wanted: impl Fn(&TailState) -> bool) {
        tail.state.subscribe().wait_for(wanted).await.expect("a tail");
    }

    #[tokio::test]
    async fn watchers_see_what_is_appended_after_they_came() {
        let log = MemoryLog::new();
        push(&log, 0, "a");
        let (tail, _guard) = tail(&log);
        let mut all = tail.watch(EventFilter::default(), None).await.expect("a watch");
        let mut b = tail.watch(only("b"), None).await.expect("a watch");
        push(&log, 0, "a");
        assert_eq!(next(&mut all).await, (0, 1));
        push(&log, 1, "b");
        assert_eq!(next(&mut all).await, (1, 0));
        assert_eq!(next(&mut b).await, (1, 0));
        assert_eq!(all.next_offsets(), [2, 1]);
        // Nothing waits: all that was looked at need not be looked at again.
        assert!(futures::poll!(std::pin::pin!(b.next())).is_pending());
        assert_eq!(b.next_offsets(), [2, 1]);
    }

    #[tokio::test]
    async fn a_watcher_who_comes_back_gets_exactly_what_it_missed() {
        let log = MemoryLog::new();
        for _ in 0..5 {
            push(&log, 0, "a");
        }
        push(&log, 0, "b");
        push(&log, 1, "a");
        let (tail, _guard) = tail(&log);
        let mut watch = tail.watch(only("a"), Some(vec![3, 0])).await.expect("a watch");
        push(&log, 0, "a");
        let mut found = Vec::new();
        for _ in 0..4 {
            found.push(next(&mut watch).await);
        }
        found.sort_unstable();
        assert_eq!(found, [(0, 3), (0, 4), (0, 6), (1, 0)]);
        assert!(futures::poll!(std::pin::pin!(watch.next())).is_pending());
        assert_eq!(watch.next_offsets(), [7, 1]);
    }

    #[tokio::test]
    async fn a_watcher_who_is_ahead_of_this_replica_is_not_told_again() {
        let log = MemoryLog::new();
        let (tail, _guard) = tail(&log);
        let mut watch = tail.watch(EventFilter::default(), Some(vec![2, 0])).await.expect("a watch");
        for _ in 0..3 {
            push(&log, 0, "a");
        }
        assert_eq!(next(&mut watch).await, (0, 2));
    }

    #[tokio::test]
    async fn what_is_no_longer_there_is_said_to_be_missed() {
        let log = MemoryLog::new();
        for _ in 0..20 {
            push(&log, 0, "a");
        }
        log.trim("agent-events", 0, 15);
        let (tail, _guard) = tail(&log);
        let mut watch = tail.watch(EventFilter::default(), Some(vec![5, 0])).await.expect("a watch");
        assert_eq!(missed(&mut watch).await, MissedEvents { count: 10, is_exact: false });
        assert_eq!(next(&mut watch).await, (0, 15));
    }

    #[tokio::test]
    async fn a_watcher_who_was_away_too_long_is_told_how_much_came() {
        let log = MemoryLog::new();
        for _ in 0..=MOST_REPLAYED {
            push(&log, 1, "a");
        }
        let (tail, _guard) = tail(&log);
        let mut watch = tail.watch(EventFilter::default(), Some(vec![0, 0])).await.expect("a watch");
        assert_eq!(missed(&mut watch).await, MissedEvents { count: MOST_REPLAYED + 1, is_exact: false });
        let mut watch = tail.watch(EventFilter::default(), Some(vec![0, 1])).await.expect("a watch");
        assert_eq!(next(&mut watch).await, (1, 1));
        push(&log, 0, "a");
        for offset in 2..=MOST_REPLAYED {
            assert_eq!(next(&mut watch).await, (1, offset));
        }
        assert_eq!(next(&mut watch).await, (0, 0));
    }

    #[tokio::test]
    async fn an_outage_of_the_log_neither_loses_nor_repeats_an_event() {
        let log = MemoryLog::new();
        let (tail, _guard) = tail(&log);
        let mut watch = tail.watch(EventFilter::default(), None).await.expect("a watch");
        push(&log, 0, "a");
        assert_eq!(next(&mut watch).await, (0, 0));
        log.set_down(true);
        until(&tail, |s| matches!(s, TailState::Interrupted(_))).await;
        push(&log, 0, "a");
        log.set_down(false);
        assert_eq!(next(&mut watch).await, (0, 1));
        assert_eq!(tail.state(), TailState::Live);
    }

    #[tokio::test]
    async fn records_that_went_during_an_outage_are_said_to_be_missed() {
        let log = MemoryLog::new();
        let (tail, _guard) = tail(&log);
        let mut watch = tail.watch(EventFilter::default(), None).await.expect("a watch");
        log.set_down(true);
        until(&tail, |s| matches!(s, TailState::Interrupted(_))).await;
        for _ in 0..5 {
            push(&log, 0, "a");
        }
        log.trim("agent-events", 0, 3);
        log.set_down(false);
        let mut found = (Vec::new(), Vec::new());
        while found.0.len() + found.1.len() < 3 {
            match watch.next().await {
                Tailed::Event(event) => found.0.push(event.offset),
                Tailed::Missed(missed) => found.1.push(missed),
            }
        }
        assert_eq!(found, (vec![3, 4], vec![MissedEvents { count: 3, is_exact: false }]));
    }

    #[tokio::test]
    async fn a_log_that_does_not_answer_is_an_error_in_time() {
        let log = MemoryLog::new();
        log.set_down(true);
        let (tail, _guard) = tail(&log);
        assert!(tail.watch(EventFilter::default(), None).await.is_err());
        log.set_down(false);
        let mut watch = loop {
            if let Ok(watch) = tail.watch(EventFilter::default(), None).await {
                break watch;
            }
        };
        push(&log, 0, "a");
        assert_eq!(next(&mut watch).await, (0, 0));
    }

    #[tokio::test]
    async fn the_reader_stops_when_nobody_watches_and_begins_anew_at_the_end() {
        let log = MemoryLog::new();
        let (tail, _guard) = tail(&log);
        drop(tail.watch(EventFilter::default(), None).await.expect("a watch"));
        until(&tail, |s| *s == TailState::Idle).await;
        push(&log, 0, "a");
        let mut watch = tail.watch(EventFilter::default(), None).await.expect("a watch");
        push(&log, 0, "a");
        assert_eq!(next(&mut watch).await, (0, 1));
    }
}
