//! Totals of every agent of the last days, in memory: kept from the compacted topic, compared with the store in the
//! background. Rankings, search, the fleet's sums and change notices come from here.
//!
//! Must not make numbers of its own: a row is what an aggregator announced (or the store holds), the highest
//! version of it. Bounded by agents × days held, ≤ 200 bytes a row.

mod accepted;
mod compare;
mod follow;
mod notices;
mod rank;
mod rows;

#[cfg(test)]
pub(crate) use compare::round as compare_round;
pub use notices::{LiveTotals, Notice, TotalsChanged};
pub(crate) use rank::Search;
pub use rank::{Column, RankAfter, RankQuery, Ranked, RankedAgent};

use crate::QueryConfig;
use crate::registry::TopicSchemas;
use crate::store::Store;
use accepted::Accepted;
use event_log::Log;
use rows::Rows;
use schemas::AgentTotals;
use schemas::codec::TOTALS;
use schemas::time::{day_of, now_micros};
use std::ops::RangeInclusive;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How far the live table can be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Everything announced before this time (µs since the epoch) is in the table.
    pub as_of: i64,
    /// Whether the topic was once read to its end. Until then rows may be missing: ask the store.
    pub is_caught_up: bool,
    /// Records of the topic that were not read when last looked; `None` where the log could not be asked.
    pub lag_records: Option<u64>,
    /// Why the topic cannot be read at the moment.
    pub trouble: Option<String>,
}

/// The live table. Share it behind an [`Arc`].
#[derive(Debug)]
pub struct LiveTable {
    rows: RwLock<Rows>,
    accepted: RwLock<Accepted>,
    live_days: i32,
    /// Names this table among all: change numbers of another process mean nothing here.
    generation: u64,
    changed: watch::Sender<u64>,
    freshness: watch::Sender<Freshness>,
    notices: watch::Sender<Arc<Notice>>,
}

impl LiveTable {
    /// Starts reading the topic and comparing with the store, until `shutdown`.
    ///
    /// # Errors
    /// Where the schema registry's settings cannot be used.
    pub fn start(config: &QueryConfig, log: Arc<dyn Log>, store: Store, shutdown: CancellationToken) -> anyhow::Result<Arc<Self>> {
        let table = Arc::new(Self::new(config.live_days));
        let schemas = TopicSchemas::new(&config.registry, &TOTALS)?;
        let follower = follow::Follower { table: Arc::clone(&table), log, topic: config.topic_metrics.clone(), schemas };
        tokio::spawn(follow::follow(follower, shutdown.clone()));
        tokio::spawn(compare::compare(Arc::clone(&table), store, shutdown.clone()));
        tokio::spawn(notices::announce(Arc::clone(&table), shutdown));
        Ok(table)
    }

    /// An empty table of the last `live_days` days, today included, and tomorrow (clients' clocks may be ahead).
    fn new(live_days: u32) -> Self {
        let freshness = Freshness { as_of: 0, is_caught_up: false, lag_records: None, trouble: None };
        let table = Self {
            rows: RwLock::default(),
            accepted: RwLock::default(),
            live_days: i32::try_from(live_days).unwrap_or(i32::MAX),
            generation: u64::from(uuid::Uuid::new_v4().as_fields().0),
            changed: watch::Sender::new(0),
            freshness: watch::Sender::new(freshness),
            notices: watch::Sender::default(),
        };
        table.turn_to(day_of(now_micros()));
        table
    }

    /// How fresh the table is.
    pub fn freshness(&self) -> Freshness {
        self.freshness.borrow().clone()
    }

    /// Tells when the table has caught up for the first time, and of every look since.
    pub fn watch_freshness(&self) -> watch::Receiver<Freshness> {
        self.freshness.subscribe()
    }

    /// First and last day number held, inclusive.
    pub fn days(&self) -> (i32, i32) {
        self.read().days()
    }

    /// An agent's totals of a day; `None` where it had no event (or the table has not caught up).
    pub fn get(&self, agent_id: &str, day: i32) -> Option<AgentTotals> {
        self.read().get(agent_id, day)
    }

    /// Time (µs since the epoch, to the millisecond) of an agent's newest event within the days held.
    pub fn last_at(&self, agent_id: &str) -> Option<i64> {
        self.read().last_at(agent_id)
    }

    /// The sums of an agent's totals over these days (first and last), with the time of its newest event on any of the
    /// days held as `last_at`; `None` for an agent that no day held has.
    pub fn over(&self, agent_id: &str, days: (i32, i32)) -> Option<AgentTotals> {
        self.read().over(agent_id, days)
    }

    /// All events of an agent on each of these days, oldest first.
    pub fn calls_by_day(&self, agent_id: &str, days: RangeInclusive<i32>) -> Vec<i64> {
        self.read().calls_by_day(agent_id, days)
    }

    /// Shows each agent that fits `search` with its totals of `day` and of the day before; the former's `last_at` is the
    /// time of its newest event on any of the days held.
    pub fn each_lately(&self, day: i32, search: &str, mut show: impl FnMut(&Arc<str>, &AgentTotals, &AgentTotals)) {
        let wanted = rank::Search::new(search);
        self.read().lately(day, |id| wanted.takes(id)).for_each(|(id, today, yesterday)| show(id, &today, &yesterday));
    }

    /// When the newest totals of today (or of a day beside it) were flushed, µs; `None` where there are none.
    pub fn newest_flush(&self) -> Option<i64> {
        let rows = self.read();
        let today = day_of(now_micros());
        (today - 1..=today + 1).map(|day| rows.fleet(day).flushed_at).max().filter(|at| *at > 0)
    }

    /// The sums over all agents of a day; `agent_id` is `*` and `version` the number of agents with events.
    pub fn fleet(&self, day: i32) -> AgentTotals {
        self.read().fleet(day)
    }

    /// Events that gateways have answered with success on a day (by their clocks), as far as they told; `None` where none
    /// told of the day.
    pub fn accepted(&self, day: i32) -> Option<u64> {
        self.accepted.read().expect("no panic while held").on(day)
    }

    /// A page of the agents in the order of a column.
    pub fn rank(&self, query: &RankQuery<'_>) -> Ranked {
        rank::rank(&self.read(), query)
    }

    /// Ids of the agents with events on one of the days held and that contain `search` (see [`RankQuery::search`]), in no order.
    pub fn search(&self, search: &str) -> Vec<Arc<str>> {
        let wanted = rank::Search::new(search);
        self.read().agents().filter(|id| wanted.takes(id)).cloned().collect()
    }

    /// Number of agents with events on these days; `None` where that is not known: the table does not hold all of
    /// them, or has not caught up.
    pub fn active_on(&self, days: RangeInclusive<i32>) -> Option<usize> {
        let is_caught_up = self.freshness.borrow().is_caught_up;
        let rows = self.read();
        (is_caught_up && *days.start() >= rows.days().0).then(|| rows.active_on(days))
    }

    /// Number of agents whose newest event is at this time (µs) or later; `None` as for [`Self::active_on`].
    pub fn seen_since(&self, at: i64) -> Option<usize> {
        let is_caught_up = self.freshness.borrow().is_caught_up;
        let rows = self.read();
        // Kept to the millisecond: an event may be later within its own.
        let is_seen = |id: &&Arc<str>| rows.last_at(id).is_some_and(|last_at| last_at + 999 >= at);
        (is_caught_up && day_of(at) >= rows.days().0).then(|| rows.agents().filter(is_seen).count())
    }

    /// The `count` agents seen most recently, newest first, with the time (µs) of their newest event.
    pub fn most_recent(&self, count: usize) -> Vec<(Arc<str>, i64)> {
        let rows = self.read();
        let mut agents: Vec<_> = rows.agents().filter_map(|id| Some((rows.last_at(id)?, id))).collect();
        let newest_first = |a: &(i64, &Arc<str>), b: &(i64, &Arc<str>)| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1));
        if agents.len() > count && count > 0 {
            agents.select_nth_unstable_by(count - 1, newest_first);
        }
        agents.truncate(count);
        agents.sort_unstable_by(newest_first);
        agents.into_iter().map(|(at, id)| (Arc::clone(id), at)).collect()
    }

    /// Number of rows (agent × day).
    pub fn row_count(&self) -> usize {
        self.read().len()
    }

    /// Takes totals where they are newer than the table's. Answers how many were.
    fn apply<'a>(&self, totals: impl IntoIterator<Item = &'a AgentTotals>) -> usize {
        let mut rows = self.rows.write().expect("no panic while held");
        let mut changed = 0;
        for totals in totals {
            if totals.is_gateway() {
                self.accepted.write().expect("no panic while held").take(totals);
            } else {
                changed += usize::from(rows.apply(totals));
            }
        }
        let seq = rows.seq();
        drop(rows);
        if changed > 0 {
            self.changed.send_replace(seq);
        }
        changed
    }

    /// Holds the days around `today` from now on.
    fn turn_to(&self, today: i32) {
        let kept = (today.saturating_sub(self.live_days - 1), today + 1);
        if self.days() != kept {
            self.rows.write().expect("no panic while held").keep_days(kept.0, kept.1);
            self.accepted.write().expect("no panic while held").keep_from(kept.0);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().expect("no panic while held")
    }
}
