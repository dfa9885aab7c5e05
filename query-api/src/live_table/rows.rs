//! The rows of the live table: agent × day, compact, with the fleet's sums kept as rows change.
//! Owns no locks, no tasks and no I/O.

use rustc_hash::{FxBuildHasher, FxHashMap};
use schemas::AgentTotals;
use schemas::time::DAY_US;
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher as _;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Changes that are remembered in order; a reader further behind costs a walk over the rows.
const RECENT_CHANGES: usize = 16_384;
/// A row that is not there.
const NONE: u32 = u32::MAX;

/// The counters of a row, or their sums over all rows of a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    calls: i64,
    messages: i64,
    responses: i64,
    errors: i64,
    tool_calls: i64,
    latency_us: i64,
    latency_n: i64,
    latency_max_us: i64,
    tokens: i64,
    input_tokens: i64,
    output_tokens: i64,
    cost_nanousd: i64,
    cost_n: i64,
    feedback_micro: i64,
    feedback_n: i64,
    duplicates: i64,
}

/// One agent's day: 152 bytes. Times are kept since the row's day began, in milliseconds, and in hundredths of a
/// second where they can be many days later.
#[derive(Clone, Copy, Debug)]
struct Row {
    counters: Counters,
    /// Number of the row's newest change.
    seq: u64,
    version: u32,
    agent: u32,
    flushed_cs: u32,
    last_ms: u32,
}

/// A day's rows.
#[derive(Debug, Default)]
struct Day {
    rows: Vec<Row>,
    /// Agent's number → index of its row.
    by_agent: Vec<u32>,
    /// Rows without events: all that the agent had was deleted.
    emptied: usize,
    fleet: Counters,
    fleet_last_at: i64,
    fleet_flushed_at: i64,
}

/// The whole table.
#[derive(Debug, Default)]
pub(super) struct Rows {
    agents: Vec<Arc<str>>,
    /// Hash of an id, moved on where it is taken → agent's number. A fifth of what a map with the ids would hold.
    numbers: FxHashMap<u32, u32>,
    days: BTreeMap<i32, Day>,
    first_day: i32,
    last_day: i32,
    seq: u64,
    recent: VecDeque<(u64, i32, u32)>,
    /// Newest change that is no longer in `recent`.
    forgotten: u64,
}

/// Rows that changed after a point.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Newest state of each changed row, oldest change first.
    pub(super) rows: Vec<AgentTotals>,
    /// Days of those rows, each once.
    pub(super) days: Vec<i32>,
    /// Where the next question goes on.
    pub(super) to: u64,
}

impl Rows {
    /// Holds these days (inclusive) from now on; drops others, with the agents that only they had.
    pub(super) fn keep_days(&mut self, first: i32, last: i32) {
        (self.first_day, self.last_day) = (first, last);
        let before = self.days.len();
        self.days.retain(|day, _| (first..=last).contains(day));
        if self.days.len() < before {
            self.forget_unused_agents();
        }
    }

    /// Takes the totals where they are newer than what is there. Answers whether something changed.
    pub(super) fn apply(&mut self, totals: &AgentTotals) -> bool {
        if totals.day < self.first_day || totals.day > self.last_day {
            return false;
        }
        let number = self.number_of_or_new(&totals.agent_id);
        let seq = self.seq + 1;
        let day = self.days.entry(totals.day).or_default();
        let version = u32::try_from(totals.version.max(0)).unwrap_or(u32::MAX);
        let row = Row {
            counters: Counters::of(totals),
            seq,
            version,
            agent: number,
            flushed_cs: since_day(totals.flushed_at, totals.day, 10_000),
            last_ms: since_day(totals.last_at, totals.day, 1_000),
        };
        let index = match day.index_of(number) {
            Some(index) => {
                let old = &mut day.rows[index as usize];
                if old.version >= version {
                    return false;
                }
                day.fleet.subtract(&old.counters);
                day.emptied -= usize::from(old.counters.calls == 0);
                let is_lower = old.counters.latency_max_us > row.counters.latency_max_us || old.last_ms > row.last_ms;
                *old = row;
                if is_lower {
                    day.lower_maxima(totals.day);
                }
                index
            }
            None => day.push(row),
        };
        day.emptied += usize::from(row.counters.calls == 0);
        day.fleet.add(&row.counters);
        day.fleet.latency_max_us = day.fleet.latency_max_us.max(totals.latency_max_us);
        day.fleet_last_at = day.fleet_last_at.max(totals.last_at);
        day.fleet_flushed_at = day.fleet_flushed_at.max(totals.flushed_at);
        self.seq = seq;
        self.recent.push_back((seq, totals.day, index));
        if self.recent.len() > RECENT_CHANGES {
            self.forgotten = self.recent.pop_front().map_or(self.forgotten, |(seq, ..)| seq);
        }
        true
    }

    /// Number of the newest change.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Rows that changed after `since` and that `wanted` takes (agent, day), at most `limit`.
    pub(super) fn changes(&self, since: u64, limit: usize, wanted: impl Fn(&str) -> bool) -> Changes {
        let mut found: Vec<(u64, i32, u32)> = if since >= self.forgotten {
            let start = self.recent.partition_point(|(seq, ..)| *seq <= since);
            // A row that changed again later stands there again.
            let is_newest = |(seq, day, index): &(u64, i32, u32)| self.days.get(day).is_some_and(|d| d.rows[*index as usize].seq == *seq);
            self.recent.range(start..).filter(|change| is_newest(change)).copied().collect()
        } else {
            let all = self.days.iter().flat_map(|(day, d)| d.rows.iter().enumerate().map(|(index, row)| (row.seq, *day, index as u32)));
            let mut all: Vec<_> = all.filter(|(seq, ..)| *seq > since).collect();
            all.sort_unstable();
            all
        };
        found.retain(|(_, day, index)| wanted(self.id_of(*day, *index)));
        let is_all = found.len() <= limit;
        found.truncate(limit);
        let to = if is_all { self.seq } else { found.last().map_or(since, |(seq, ..)| *seq) };
        let rows: Vec<_> = found.iter().map(|(_, day, index)| self.totals_at(*day, *index)).collect();
        let mut days: Vec<i32> = found.iter().map(|(_, day, _)| *day).collect();
        days.sort_unstable();
        days.dedup();
        Changes { rows, days, to }
    }

    /// An agent's totals of a day.
    pub(super) fn get(&self, agent_id: &str, day: i32) -> Option<AgentTotals> {
        let number = self.number_of(agent_id)?;
        let index = self.days.get(&day)?.index_of(number)?;
        Some(self.totals_at(day, index))
    }

    /// Time (µs) of an agent's newest event within the days held.
    pub(super) fn last_at(&self, agent_id: &str) -> Option<i64> {
        self.last_at_of(self.number_of(agent_id)?)
    }

    /// The sums over all agents of a day: `agent_id` is `*`, `version` the number of agents.
    pub(super) fn fleet(&self, day: i32) -> AgentTotals {
        let mut totals = AgentTotals { agent_id: "*".into(), day, ..AgentTotals::default() };
        if let Some(d) = self.days.get(&day) {
            d.fleet.write_to(&mut totals);
            totals.version = (d.rows.len() - d.emptied) as i64;
            totals.last_at = d.fleet_last_at;
            totals.flushed_at = d.fleet_flushed_at;
        }
        totals
    }

    /// Every agent of the days held with the sums of its totals over these days (zeros where it was idle), the time of
    /// its newest event in `last_at`. `wanted` sees the id first.
    pub(super) fn agents_over<'a>(
        &'a self,
        (first, last): (i32, i32),
        wanted: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a Arc<str>, AgentTotals)> + 'a {
        let days: Vec<&Day> = self.days.iter().filter(|(day, _)| (first..=last).contains(day)).map(|(_, d)| d).collect();
        self.agents.iter().enumerate().filter(move |(_, id)| wanted(id)).filter_map(move |(number, id)| {
            let number = number as u32;
            let mut totals = AgentTotals { day: last, last_at: self.last_at_of(number)?, ..AgentTotals::default() };
            sum_of(&days, number).write_to(&mut totals);
            Some((id, totals))
        })
    }

    /// The sums of an agent's totals over these days, as [`Self::agents_over`] has them; `None` for an agent that no
    /// day held has.
    pub(super) fn over(&self, agent_id: &str, (first, last): (i32, i32)) -> Option<AgentTotals> {
        let number = self.number_of(agent_id)?;
        let days: Vec<&Day> = self.days.iter().filter(|(day, _)| (first..=last).contains(day)).map(|(_, d)| d).collect();
        let mut totals = AgentTotals { day: last, last_at: self.last_at_of(number)?, ..AgentTotals::default() };
        sum_of(&days, number).write_to(&mut totals);
        Some(totals)
    }

    /// All events of an agent on each of these days, oldest first.
    pub(super) fn calls_by_day(&self, agent_id: &str, days: RangeInclusive<i32>) -> Vec<i64> {
        let number = self.number_of(agent_id);
        let calls = |day| {
            let day: &Day = self.days.get(&day)?;
            Some(day.rows[day.index_of(number?)? as usize].counters.calls)
        };
        days.map(|day| calls(day).unwrap_or(0)).collect()
    }

    /// Every agent that `wanted` takes, with its totals of a day and of the day before, the time of its newest event in
    /// the former's `last_at`.
    pub(super) fn lately<'a>(
        &'a self,
        day: i32,
        wanted: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = (&'a Arc<str>, AgentTotals, AgentTotals)> + 'a {
        let days = [day, day - 1].map(|day| self.days.get(&day));
        self.agents.iter().enumerate().filter(move |(_, id)| wanted(id)).filter_map(move |(number, id)| {
            let number = number as u32;
            let last_at = self.last_at_of(number)?;
            let [today, yesterday] = days.map(|day| {
                let mut totals = AgentTotals::default();
                sum_of(day.as_slice(), number).write_to(&mut totals);
                totals
            });
            Some((id, AgentTotals { last_at, ..today }, yesterday))
        })
    }

    /// Number of agents with events on these days.
    pub(super) fn active_on(&self, days: RangeInclusive<i32>) -> usize {
        let days: Vec<&Day> = self.days.range(days).map(|(_, day)| day).collect();
        let is_active = |number: &u32| days.iter().any(|d| d.index_of(*number).is_some_and(|i| d.rows[i as usize].counters.calls > 0));
        (0..self.agents.len() as u32).filter(is_active).count()
    }

    /// Ids of every agent with events on the days held.
    pub(super) fn agents(&self) -> impl Iterator<Item = &Arc<str>> {
        (0..).zip(&self.agents).filter(|(number, _)| self.last_at_of(*number).is_some()).map(|(_, id)| id)
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.days.values().map(|d| d.rows.len()).sum()
    }

    /// The days held.
    pub(super) fn days(&self) -> (i32, i32) {
        (self.first_day, self.last_day)
    }

    /// Up to `count` rows (agent, day) after `from`, which moves on and begins anew at the end.
    pub(super) fn walk(&self, days: &[i32], from: &mut usize, count: usize) -> Vec<(Arc<str>, i32)> {
        let len_of = |day: &i32| self.days.get(day).map_or(0, |d| d.rows.len());
        let total: usize = days.iter().map(len_of).sum();
        let mut found = Vec::with_capacity(count.min(total));
        if *from >= total {
            *from = 0;
        }
        let mut at = *from;
        for day in days {
            let len = len_of(day);
            while at < len && found.len() < count {
                found.push((Arc::clone(&self.agents[self.days[day].rows[at].agent as usize]), *day));
                at += 1;
                *from += 1;
            }
            at = at.saturating_sub(len);
        }
        found
    }

    /// Bytes that the rows, their index and the ids hold.
    pub(super) fn bytes(&self) -> usize {
        let rows: usize = self.days.values().map(|d| d.rows.capacity() * size_of::<Row>() + d.by_agent.capacity() * 4).sum();
        let ids: usize = self.agents.iter().map(|id| 2 * size_of::<usize>() + id.len()).sum();
        rows + ids + self.agents.capacity() * size_of::<Arc<str>>() + self.numbers.capacity() * 8 / 7 * 9
    }

    fn number_of(&self, agent_id: &str) -> Option<u32> {
        let mut hash = hash_of(agent_id);
        loop {
            let number = *self.numbers.get(&hash)?;
            if &*self.agents[number as usize] == agent_id {
                return Some(number);
            }
            hash = next_hash(hash);
        }
    }

    fn number_of_or_new(&mut self, agent_id: &str) -> u32 {
        if let Some(number) = self.number_of(agent_id) {
            return number;
        }
        let number = self.agents.len() as u32;
        reserve_some(&mut self.agents);
        self.agents.push(agent_id.into());
        let mut hash = hash_of(agent_id);
        while self.numbers.contains_key(&hash) {
            hash = next_hash(hash);
        }
        self.numbers.insert(hash, number);
        number
    }

    fn forget_unused_agents(&mut self) {
        let agents = std::mem::take(&mut self.agents);
        self.numbers = FxHashMap::default();
        let mut renumbered = vec![NONE; agents.len()];
        let mut days = std::mem::take(&mut self.days);
        for day in days.values_mut() {
            day.by_agent = Vec::new();
            for (index, row) in day.rows.iter_mut().enumerate() {
                let old = row.agent as usize;
                if renumbered[old] == NONE {
                    renumbered[old] = self.number_of_or_new(&agents[old]);
                }
                row.agent = renumbered[old];
                Day::point_to(&mut day.by_agent, row.agent, index as u32);
            }
        }
        self.days = days;
    }

    fn last_at_of(&self, number: u32) -> Option<i64> {
        let rows = self.days.iter().rev().filter_map(|(day, d)| d.index_of(number).map(|i| (*day, &d.rows[i as usize])));
        rows.filter(|(_, row)| row.counters.calls > 0).map(|(day, row)| i64::from(day) * DAY_US + i64::from(row.last_ms) * 1_000).next()
    }

    fn id_of(&self, day: i32, index: u32) -> &Arc<str> {
        &self.agents[self.days[&day].rows[index as usize].agent as usize]
    }

    fn totals_at(&self, day: i32, index: u32) -> AgentTotals {
        AgentTotals { agent_id: self.id_of(day, index).to_string(), ..self.numbers_at(day, index) }
    }

    fn numbers_at(&self, day: i32, index: u32) -> AgentTotals {
        let row = &self.days[&day].rows[index as usize];
        let at = |units: u32, unit_us: i64| i64::from(day) * DAY_US + i64::from(units) * unit_us;
        let mut totals = AgentTotals {
            day,
            version: i64::from(row.version),
            flushed_at: at(row.flushed_cs, 10_000),
            last_at: at(row.last_ms, 1_000),
            ..AgentTotals::default()
        };
        row.counters.write_to(&mut totals);
        totals
    }
}

impl Day {
    fn index_of(&self, agent: u32) -> Option<u32> {
        self.by_agent.get(agent as usize).copied().filter(|i| *i != NONE)
    }

    /// What the rows come to, after one of them came to less.
    fn lower_maxima(&mut self, day: i32) {
        self.fleet.latency_max_us = self.rows.iter().map(|row| row.counters.latency_max_us).max().unwrap_or(0);
        let last_ms = self.rows.iter().filter(|row| row.counters.calls > 0).map(|row| row.last_ms).max();
        self.fleet_last_at = last_ms.map_or(0, |ms| i64::from(day) * DAY_US + i64::from(ms) * 1_000);
    }

    fn push(&mut self, row: Row) -> u32 {
        let index = self.rows.len() as u32;
        reserve_some(&mut self.rows);
        self.rows.push(row);
        Self::point_to(&mut self.by_agent, row.agent, index);
        index
    }

    fn point_to(by_agent: &mut Vec<u32>, agent: u32, index: u32) {
        while by_agent.len() <= agent as usize {
            reserve_some(by_agent);
            by_agent.push(NONE);
        }
        by_agent[agent as usize] = index;
    }
}

impl Counters {
    fn of(t: &AgentTotals) -> Self {
        Self {
            calls: t.calls,
            messages: t.messages,
            responses: t.responses,
            errors: t.errors,
            tool_calls: t.tool_calls,
            latency_us: t.latency_us,
            latency_n: t.latency_n,
            latency_max_us: t.latency_max_us,
            tokens: t.tokens,
            input_tokens: t.input_tokens,
            output_tokens: t.output_tokens,
            cost_nanousd: t.cost_nanousd,
            cost_n: t.cost_n,
            feedback_micro: t.feedback_micro,
            feedback_n: t.feedback_n,
            duplicates: t.duplicates,
        }
    }

    fn write_to(&self, t: &mut AgentTotals) {
        t.calls = self.calls;
        t.messages = self.messages;
        t.responses = self.responses;
        t.errors = self.errors;
        t.tool_calls = self.tool_calls;
        t.latency_us = self.latency_us;
        t.latency_n = self.latency_n;
        t.latency_max_us = self.latency_max_us;
        t.tokens = self.tokens;
        t.input_tokens = self.input_tokens;
        t.output_tokens = self.output_tokens;
        t.cost_nanousd = self.cost_nanousd;
        t.cost_n = self.cost_n;
        t.feedback_micro = self.feedback_micro;
        t.feedback_n = self.feedback_n;
        t.duplicates = self.duplicates;
    }

    fn add(&mut self, other: &Self) {
        self.each(other, |a, b| a + b);
    }

    fn subtract(&mut self, other: &Self) {
        self.each(other, |a, b| a - b);
    }

    /// Every counter but the maximum, which does not add (and of a row only grows).
    fn each(&mut self, other: &Self, combine: impl Fn(i64, i64) -> i64) {
        let pairs = [
            (&mut self.calls, other.calls),
            (&mut self.messages, other.messages),
            (&mut self.responses, other.responses),
            (&mut self.errors, other.errors),
            (&mut self.tool_calls, other.tool_calls),
            (&mut self.latency_us, other.latency_us),
            (&mut self.latency_n, other.latency_n),
            (&mut self.tokens, other.tokens),
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.cost_nanousd, other.cost_nanousd),
            (&mut self.cost_n, other.cost_n),
            (&mut self.feedback_micro, other.feedback_micro),
            (&mut self.feedback_n, other.feedback_n),
            (&mut self.duplicates, other.duplicates),
        ];
        for (mine, theirs) in pairs {
            *mine = combine(*mine, theirs);
        }
    }
}

/// The sums of an agent's rows of these days.
fn sum_of(days: &[&Day], number: u32) -> Counters {
    let mut sum = Counters::default();
    for day in days {
        if let Some(index) = day.index_of(number) {
            let counters = &day.rows[index as usize].counters;
            sum.add(counters);
            sum.latency_max_us = sum.latency_max_us.max(counters.latency_max_us);
        }
    }
    sum
}

/// From the beginning of `day` to `at` (µs), in units of `unit_us`.
fn since_day(at: i64, day: i32, unit_us: i64) -> u32 {
    let units = at.saturating_sub(i64::from(day) * DAY_US) / unit_us;
    u32::try_from(units.max(0)).unwrap_or(u32::MAX)
}

/// Makes room in steps of a sixteenth, so that at most that share lies unused.
fn reserve_some<T>(vec: &mut Vec<T>) {
    if vec.len() == vec.capacity() {
        vec.reserve_exact((vec.len() / 16).max(16));
    }
}

fn hash_of(agent_id: &str) -> u32 {
    let hash = FxBuildHasher.hash_one(agent_id);
    (hash ^ (hash >> 32)) as u32
}

fn next_hash(hash: u32) -> u32 {
    hash.wrapping_add(0x9E37_79B9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(agent: &str, day: i32, version: i64, calls: i64) -> AgentTotals {
        let last_at = i64::from(day) * DAY_US + 5_000_000;
        AgentTotals {
            agent_id: agent.into(),
            day,
            version,
            calls,
            errors: 1,
            latency_max_us: calls,
            last_at,
            flushed_at: last_at,
            ..AgentTotals::default()
        }
    }

    fn rows(first: i32, last: i32) -> Rows {
        let mut rows = Rows::default();
        rows.keep_days(first, last);
        rows
    }

    #[test]
    fn the_highest_version_stays_whatever_the_order() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1], [3, 1, 2]] {
            let mut rows = rows(10, 12);
            for version in order {
                rows.apply(&totals("a", 11, version, version * 10));
                rows.apply(&totals("b", 11, 1, 5));
            }
            assert_eq!(rows.get("a", 11), Some(totals("a", 11, 3, 30)), "{order:?}");
            let fleet = rows.fleet(11);
            assert_eq!((fleet.calls, fleet.errors, fleet.version, fleet.latency_max_us), (35, 2, 2, 30), "{order:?}");
        }
    }

    #[test]
    fn days_outside_are_neither_taken_nor_kept() {
        let mut rows = rows(10, 12);
        assert!(!rows.apply(&totals("a", 9, 1, 1)) && !rows.apply(&totals("a", 13, 1, 1)));
        for day in 10..=12 {
            assert!(rows.apply(&totals("a", day, 1, 1)));
        }
        assert!(rows.apply(&totals("gone", 10, 1, 1)));
        assert!(rows.apply(&totals("b", 12, 1, 7)));
        rows.keep_days(11, 13);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows.get("a", 10), None);
        assert_eq!(rows.get("b", 12), Some(totals("b", 12, 1, 7)));
        assert_eq!(rows.last_at("a"), Some(12 * DAY_US + 5_000_000));
        assert_eq!(rows.agents().map(|id| &**id).collect::<Vec<_>>(), ["a", "b"]);
        assert!(rows.apply(&totals("a", 12, 2, 9)));
        assert_eq!(rows.fleet(12).calls, 16);
    }

    #[test]
    fn an_agent_whose_events_are_all_deleted_is_not_there() {
        let mut rows = rows(10, 12);
        let with = |agent: &str, version: i64, calls: i64, ms: i64| AgentTotals {
            latency_max_us: ms * 1_000,
            last_at: if calls == 0 { 0 } else { 11 * DAY_US + ms * 1_000 },
            ..totals(agent, 11, version, calls)
        };
        rows.apply(&with("a", 1, 5, 70));
        rows.apply(&with("b", 1, 2, 30));
        assert!(rows.apply(&with("a", 2, 0, 0)));
        let fleet = rows.fleet(11);
        assert_eq!((fleet.calls, fleet.version, fleet.latency_max_us, fleet.last_at), (2, 1, 30_000, 11 * DAY_US + 30_000));
        assert_eq!(rows.agents().map(|id| &**id).collect::<Vec<_>>(), ["b"]);
        assert_eq!((rows.over("a", (10, 12)), rows.last_at("a"), rows.active_on(10..=12)), (None, None, 1));
        rows.apply(&with("a", 3, 1, 10));
        assert_eq!((rows.fleet(11).version, rows.last_at("a")), (2, Some(11 * DAY_US + 10_000)));
    }

    #[test]
    fn changes_name_each_row_once_with_its_newest_state() {
        let mut rows = rows(10, 12);
        for version in 1..=5 {
            rows.apply(&totals("a", 11, version, version));
            rows.apply(&totals("b", 12, version, version));
        }
        let changes = rows.changes(0, 10, |_| true);
        assert_eq!(changes.rows, [totals("a", 11, 5, 5), totals("b", 12, 5, 5)]);
        assert_eq!((changes.days, changes.to), (vec![11, 12], 10));
        assert_eq!(rows.changes(9, 10, |_| true).rows, [totals("b", 12, 5, 5)]);
        assert!(rows.changes(10, 10, |_| true).rows.is_empty());
        let filtered = rows.changes(0, 10, |id| id == "a");
        assert_eq!((filtered.rows.len(), filtered.to), (1, 10));
        let first = rows.changes(0, 1, |_| true);
        assert_eq!((first.rows.len(), first.to), (1, 9));
    }

    #[test]
    fn changes_further_back_than_remembered_are_found_in_the_rows() {
        let mut rows = rows(10, 10);
        let count = RECENT_CHANGES + 100;
        for i in 0..count {
            rows.apply(&totals(&format!("agent-{i}"), 10, 1, 1));
        }
        let (mut since, mut seen) = (0, 0);
        loop {
            let changes = rows.changes(since, 1_000, |_| true);
            if changes.rows.is_empty() {
                break;
            }
            seen += changes.rows.len();
            since = changes.to;
        }
        assert_eq!(seen, count);
    }

    #[test]
    fn a_row_takes_at_most_200_bytes() {
        let mut rows = rows(10, 12);
        for i in 0..30_000 {
            for day in 10..=11 {
                rows.apply(&totals(&format!("team/agent-{i}"), day, 1, 1));
            }
        }
        let per_row = rows.bytes() / rows.len();
        assert!(per_row <= 200, "{per_row} bytes a row");
    }

    #[test]
    fn a_walk_visits_every_row_and_begins_anew() {
        let mut rows = rows(10, 12);
        for (agent, day) in [("a", 11), ("b", 11), ("c", 11), ("a", 12), ("d", 12)] {
            rows.apply(&totals(agent, day, 1, 1));
        }
        let mut from = 0;
        let mut visited = Vec::new();
        for _ in 0..3 {
            visited.extend(rows.walk(&[11, 12], &mut from, 2).into_iter().map(|(id, day)| format!("{id}{day}")));
        }
        assert_eq!(visited, ["a11", "b11", "c11", "a12", "d12"]);
        assert_eq!(rows.walk(&[11, 12], &mut from, 2).len(), 2);
    }
}
