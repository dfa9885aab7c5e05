//! Errors put into groups as they are read. Holds of each group its counts and one example, whatever the number of
//! errors, and at most so many groups; further ones share one.

use super::cut;
use crate::error_shape::shape_of;
use crate::parameters::Span;
use rustc_hash::FxHashMap;
use schemas::item::StoredEvent;
use schemas::rollup::OTHER;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// Groups kept apart.
const MOST_GROUPS: usize = 2_000;
/// Newest errors named in each.
const RECENT: usize = 5;
/// Intervals of a trend at most.
const MOST_INTERVALS: i64 = 60;
/// Lengths of an interval, seconds: those that people count in.
const INTERVALS_S: [i64; 12] = [60, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800];

/// The intervals of a trend: aligned to their length, from the one with the range's beginning on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trend {
    start: i64,
    interval_us: i64,
    count: usize,
}

impl Trend {
    pub(super) fn of(span: Span) -> Self {
        let intervals = |us: i64| span.to.div_euclid(us) - span.from.div_euclid(us) + 1;
        let fits = |s: &&i64| intervals(**s * 1_000_000) <= MOST_INTERVALS;
        let interval_us = INTERVALS_S.iter().find(fits).unwrap_or(&INTERVALS_S[INTERVALS_S.len() - 1]) * 1_000_000;
        Self { start: span.from.div_euclid(interval_us) * interval_us, interval_us, count: intervals(interval_us).max(1) as usize }
    }

    /// When it begins (µs), and the length of an interval in seconds.
    pub(super) fn described(self) -> (i64, i64) {
        (self.start, self.interval_us / 1_000_000)
    }

    /// Which interval a time is in; the last where it is later.
    fn index(self, at: i64) -> usize {
        (((at - self.start) / self.interval_us).max(0) as usize).min(self.count - 1)
    }
}

/// Errors of one type and shape.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) error_type: Option<String>,
    pub(super) shape: String,
    pub(super) count: u64,
    pub(super) agents: FxHashMap<Arc<str>, u64>,
    pub(super) first_seen: i64,
    pub(super) last_seen: i64,
    pub(super) trend: Vec<u32>,
    pub(super) example: StoredEvent,
    pub(super) is_example_cut: bool,
    pub(super) recent: Vec<(Arc<str>, i64, String)>,
}

/// All groups.
#[derive(Debug)]
pub(super) struct Groups {
    trend: Trend,
    by_name: FxHashMap<(Option<String>, String), Group>,
    agents: FxHashMap<String, Arc<str>>,
    total: u64,
}

impl Groups {
    pub(super) fn new(trend: Trend) -> Self {
        Self { trend, by_name: FxHashMap::default(), agents: FxHashMap::default(), total: 0 }
    }

    /// Takes an error in; any order will do.
    pub(super) fn take(&mut self, stored: StoredEvent) {
        let event = &stored.event;
        let message = [&event.error_details, &event.content].into_iter().flatten().find(|text| !text.trim().is_empty());
        let mut name = (event.error_type.clone(), shape_of(message.map_or("", |text| text)));
        if self.by_name.len() >= MOST_GROUPS && !self.by_name.contains_key(&name) {
            name = (None, OTHER.to_owned());
        }
        self.total += 1;
        let (at, event_id) = (event.timestamp, event.event_id.clone());
        let agent = match self.agents.get(&event.agent_id) {
            Some(agent) => Arc::clone(agent),
            None => {
                let agent: Arc<str> = event.agent_id.as_str().into();
                self.agents.insert(event.agent_id.clone(), Arc::clone(&agent));
                agent
            }
        };
        let trend = self.trend;
        let group = match self.by_name.get_mut(&name) {
            Some(group) => {
                if at > group.last_seen {
                    group.show(stored);
                }
                group
            }
            None => self.by_name.entry(name.clone()).or_insert_with(|| Group::new(name, stored, trend.count)),
        };
        group.count += 1;
        group.first_seen = group.first_seen.min(at);
        group.last_seen = group.last_seen.max(at);
        group.trend[trend.index(at)] += 1;
        *group.agents.entry(Arc::clone(&agent)).or_default() += 1;
        let place = group.recent.partition_point(|(_, of, _)| *of >= at);
        if place < RECENT {
            group.recent.insert(place, (agent, at, event_id));
            group.recent.truncate(RECENT);
        }
    }

    pub(super) fn trend(&self) -> Trend {
        self.trend
    }

    /// Errors taken.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Groups.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Those with the most errors; of as many, the newest.
    pub(super) fn into_largest(self, limit: usize) -> Vec<Group> {
        let mut groups: Vec<Group> = self.by_name.into_values().collect();
        groups.sort_unstable_by(|a, b| (b.count, b.last_seen).cmp(&(a.count, a.last_seen)).then_with(|| a.id.cmp(&b.id)));
        groups.truncate(limit);
        groups
    }
}

impl Group {
    fn new((error_type, shape): (Option<String>, String), mut example: StoredEvent, intervals: usize) -> Self {
        let is_example_cut = cut(&mut example);
        let at = example.event.timestamp;
        Self {
            id: id_of(error_type.as_deref(), &shape),
            error_type,
            shape,
            count: 0,
            agents: FxHashMap::default(),
            first_seen: at,
            last_seen: at,
            trend: vec![0; intervals],
            example,
            is_example_cut,
            recent: Vec::with_capacity(RECENT + 1),
        }
    }

    fn show(&mut self, mut example: StoredEvent) {
        self.is_example_cut = cut(&mut example);
        self.example = example;
    }
}

/// The group's id: a hash of its name, and so the same on every server.
fn id_of(error_type: Option<&str>, shape: &str) -> String {
    let mut digest = Sha256::new();
    // No type differs from an empty one.
    digest.update(error_type.map_or("-".to_owned(), |name| format!("+{name}")));
    digest.update([0]);
    digest.update(shape);
    digest.finalize()[..8].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::time::{DAY_US, HOUR_US};
    use schemas::{AgentEvent, MessageType};

    fn error(agent: &str, at: i64, error_type: Option<&str>, details: &str) -> StoredEvent {
        let mut event = AgentEvent::new(agent, at, format!("e{at}"), MessageType::Error);
        event.error_type = error_type.map(str::to_owned);
        event.error_details = Some(details.into());
        StoredEvent { event, src: None }
    }

    #[test]
    fn a_trend_has_at_most_sixty_intervals_that_people_count_in() {
        for (from, to, interval_s, count) in [
            (0, 7 * DAY_US - 1, 10_800, 56),
            (0, HOUR_US - 1, 60, 60),
            (30_000_000, HOUR_US + 30_000_000 - 1, 300, 13),
            (0, DAY_US - 1, 1_800, 48),
            (0, 30 * DAY_US - 1, 43_200, 60),
            (0, 400 * DAY_US - 1, 604_800, 58),
            (5, 5, 60, 1),
        ] {
            let trend = Trend::of(Span { from, to });
            assert_eq!((trend.described().1, trend.count), (interval_s, count), "{from} to {to}");
            assert_eq!((trend.index(from), trend.index(to), trend.index(to + DAY_US)), (0, count - 1, count - 1));
        }
    }

    #[test]
    fn groups_are_the_same_whatever_the_order() {
        let errors = [
            error("a", 10, Some("Timeout"), "after 10 s"),
            error("b", 30, Some("Timeout"), "after 30 s"),
            error("a", 20, Some("Timeout"), "after 20 s"),
            error("a", 15, None, "after 20 s"),
        ];
        let grouped = |order: &[usize]| {
            let mut groups = Groups::new(Trend::of(Span { from: 0, to: 100 }));
            order.iter().for_each(|i| groups.take(errors[*i].clone()));
            groups
                .into_largest(9)
                .into_iter()
                .map(|g| (g.id, g.count, g.first_seen, g.last_seen, g.example.event.event_id, g.recent, g.trend))
                .collect::<Vec<_>>()
        };
        let one = grouped(&[0, 1, 2, 3]);
        assert_eq!(one, grouped(&[3, 2, 1, 0]));
        assert_eq!((one.len(), one[0].1, one[0].2, one[0].3, one[0].4.as_str()), (2, 3, 10, 30, "e30"));
        assert_ne!(one[0].0, one[1].0);
        assert_eq!(one[0].5.iter().map(|r| r.1).collect::<Vec<_>>(), [30, 20, 10]);
    }

    #[test]
    fn the_number_of_groups_is_bounded_and_long_texts_are_cut() {
        let mut groups = Groups::new(Trend::of(Span { from: 0, to: 100 }));
        for i in 0..MOST_GROUPS + 10 {
            groups.take(error("a", 1, Some(&format!("t{i}")), "x"));
        }
        groups.take(error("a", 2, Some("t0"), &"y".repeat(100_000)));
        assert_eq!((groups.len(), groups.total()), (MOST_GROUPS + 1, MOST_GROUPS as u64 + 11));
        let largest = groups.into_largest(2);
        assert_eq!((largest[0].shape.as_str(), largest[0].count), (OTHER, 10 + 1));
        assert!(largest[0].is_example_cut && largest[0].example.event.error_details.as_ref().is_some_and(|d| d.len() == 4_096));
    }
}
