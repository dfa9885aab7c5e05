//! What one item of the new table gets. Pure.
//!
//! Both tables get the same from the log, from the same position on. So where their marks agree on what came by it, the
//! old item less the new one is exactly what was there before: the way to take over what no raw event can tell, such as
//! skipped duplicates.

use crate::books::{Counted, less};
use crate::fold::Names;
use event_log::{Before, Position};
use schemas::rollup::Rollup;
use std::collections::BTreeMap;

/// Counters that raw events do not tell.
const CARRIED: [&str; 4] = ["duplicates", "logged", "inserted", "dead_letters"];

/// Where two versions of an item hold different parts of what comes by the log: the higher mark by epoch and partition.
pub fn apart(before: &Before, old: &Rollup, new: &Rollup) -> BTreeMap<(u32, u32), u64> {
    let mut apart = BTreeMap::new();
    for of @ (epoch, partition) in old.marks.keys().chain(new.marks.keys()).copied() {
        let by_log =
            |rollup: &Rollup| rollup.marks.get(&of).copied().filter(|offset| !before.holds(Position { epoch, partition, offset: *offset }));
        let (old, new) = (by_log(old), by_log(new));
        if old != new {
            apart.insert(of, old.max(new).unwrap_or(0));
        }
    }
    apart
}

/// How an item is to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// By its raw events.
    Events(&'a Counted),
    /// By the old table alone: raw events of it may have expired, or never were.
    Old,
}

/// The new item with everything from before added. `old` and `new` must agree on what came by the log.
pub fn filled(old: &Rollup, new: &Rollup, source: Source<'_>) -> Rollup {
    let before = less(old, new);
    let mut sum = match source {
        Source::Old => before.clone(),
        Source::Events(counted) => {
            let mut sum = counted.sum.clone();
            for (name, value) in before.counters() {
                if CARRIED.contains(&name.as_str()) {
                    sum.set_counter(&name, value);
                }
            }
            sum
        }
    };
    if source == Source::Old {
        // Maxima do not add: the old one's hold what was before.
        sum.last_at = old.last_at;
        sum.latency_max_us = old.latency_max_us;
        for (slot, of) in &old.slots {
            sum.slots.entry(*slot).or_default().latency_max_us = of.latency_max_us;
        }
    }
    // Names get counters first come, and the old item says which came first. Those that a deletion left nothing of make room.
    Names::in_use(old).cap(&mut sum);
    Names::of(new).cap(&mut sum);
    let mut filled = new.clone();
    filled.add(&sum);
    let mut marks = old.marks.clone();
    if let Source::Events(counted) = source {
        for (of, mark) in &counted.marks {
            let known = marks.entry(*of).or_default();
            *known = (*known).max(*mark);
        }
    }
    for (of, mark) in marks {
        let known = filled.marks.entry(of).or_default();
        *known = (*known).max(mark);
    }
    filled.version = new.version + 1;
    filled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rebuild_from::{From, before as before_noted};

    const AT: u32 = 3;

    fn before() -> Before {
        before_noted(&BTreeMap::from([(AT, From { epoch: 1, offset: 100 })]), 0)
    }

    fn item(calls: i64, duplicates: i64, mark: u64) -> Rollup {
        let mut rollup = Rollup { calls, duplicates, latency_max_us: calls, version: 5, ..Rollup::default() };
        rollup.marks.insert((1, AT), mark);
        rollup.error_types.insert("timeout".into(), calls);
        rollup
    }

    #[test]
    fn positions_are_before_by_epoch_then_offset_and_later_partitions_never() {
        let at = |epoch, partition, offset| before().holds(Position { epoch, partition, offset });
        assert!(at(1, AT, 99) && !at(1, AT, 100) && at(0, AT, 1_000) && !at(2, AT, 0));
        assert!(!at(1, 9, 0) && at(0, 9, 7));
    }

    #[test]
    fn items_agree_where_the_marks_of_the_logs_part_do() {
        let nothing = Rollup::default();
        let apart = |old: &Rollup, new: &Rollup| super::apart(&before(), old, new);
        assert_eq!(apart(&item(1, 0, 99), &nothing), BTreeMap::new());
        assert_eq!(apart(&item(1, 0, 100), &nothing), BTreeMap::from([((1, AT), 100)]));
        assert_eq!(apart(&item(3, 0, 120), &item(1, 0, 120)), BTreeMap::new());
        assert_eq!(apart(&item(3, 0, 120), &item(1, 0, 121)), BTreeMap::from([((1, AT), 121)]));
    }

    #[test]
    fn an_item_gets_its_events_and_what_only_the_old_one_tells() {
        let (old, new) = (item(30, 7, 120), item(10, 2, 120));
        let mut counted = Counted { sum: item(20, 0, 0), ..Counted::default() };
        counted.sum.marks.clear();
        counted.marks.insert((1, AT), 99);
        let filled = filled(&old, &new, Source::Events(&counted));
        assert_eq!((filled.calls, filled.duplicates, filled.error_types["timeout"]), (30, 7, 30));
        assert_eq!((filled.latency_max_us, filled.version, filled.marks[&(1, AT)]), (20, 6, 120));
    }

    #[test]
    fn an_item_without_events_becomes_the_old_one() {
        let (old, new) = (item(30, 7, 99), Rollup::default());
        let filled = filled(&old, &new, Source::Old);
        assert_eq!(Rollup { version: old.version, ..filled }, old);
    }
}
