//! What raw events add up to: an agent's, and what they add to the fleet's. Pure; the same [`mod@fold`] as when they were counted.

use crate::fold::{self, fold};
use event_log::Position;
use schemas::AgentEvent;
use schemas::item::Period;
use schemas::rollup::Rollup;
use schemas::time::{day_of, hour_of};
use schemas::users::{UserSet, user_hash};
use std::collections::BTreeMap;

/// What some raw events add up to in an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Their counters and maxima.
    pub sum: Rollup,
    /// Their highest offset per epoch and partition.
    pub marks: BTreeMap<(u32, u32), u64>,
}

/// What some raw events add up to, by day and hour, with their users by day.
#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) counters: BTreeMap<Period, Counted>,
    pub(crate) users: BTreeMap<i32, UserSet>,
}

/// The fleet's books by partition.
pub(crate) type Shares = BTreeMap<u32, Books>;

impl Books {
    /// Adds an event that was logged there.
    pub(crate) fn add(&mut self, event: &AgentEvent, at: Position) {
        let addition = fold(event);
        for period in [Period::Day(day_of(event.timestamp)), Period::Hour(hour_of(event.timestamp))] {
            let counted = self.counters.entry(period).or_default();
            fold::add(&mut counted.sum, &addition, matches!(period, Period::Hour(_)));
            let mark = counted.marks.entry((at.epoch, at.partition)).or_default();
            *mark = (*mark).max(at.offset);
        }
        if let Some(user) = &event.user_id {
            self.users.entry(day_of(event.timestamp)).or_default().insert(user_hash(user));
        }
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    /// Adds others.
    pub(crate) fn merge(&mut self, others: Self) {
        for (period, counted) in others.counters {
            let sum = self.counters.entry(period).or_default();
            sum.sum.add(&counted.sum);
            for (of, mark) in counted.marks {
                let known = sum.marks.entry(of).or_default();
                *known = (*known).max(mark);
            }
        }
        for (day, users) in others.users {
            self.users.entry(day).or_default().unite(&users);
        }
    }
}

/// Adds what others add to the fleet's books.
pub(crate) fn merge(shares: &mut Shares, others: Shares) {
    for (partition, books) in others {
        shares.entry(partition).or_default().merge(books);
    }
}

/// Counter by counter `all` without what `some` has. Maxima stay 0.
pub(crate) fn less(all: &Rollup, some: &Rollup) -> Rollup {
    let mut left: BTreeMap<String, i64> = all.counters().into_iter().collect();
    for (name, value) in some.counters() {
        *left.entry(name).or_default() -= value;
    }
    let mut rollup = Rollup::default();
    for (name, value) in left.into_iter().filter(|(_, value)| *value != 0) {
        rollup.set_counter(&name, value);
    }
    rollup
}
