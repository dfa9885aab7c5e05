//! Subtracts the events from every rollup that they are in: agent by agent, then the fleet's, some days at a time.
//!
//! Counters are subtracted. A maximum, and a set of users, that a deleted event made becomes what the events that are left
//! come to.

use super::{AGENTS_AT_ONCE, DeleteError, WRITES_AT_ONCE, Work};
use crate::books::{Books, Counted, Shares, less, merge};
use crate::fold::Names;
use crate::store::Correctable;
use crate::verify::{Progress, Window};
use event_log::Position;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::item::{MetricKey, Period, StoredEvent, Subject};
use schemas::rollup::{NAMES_PER_ITEM, OTHER, Rollup};
use schemas::time::format_day;
use schemas::users::UserSet;
use service_kit::deletions::Whose;
use std::collections::{BTreeMap, BTreeSet};

/// An agent's events to delete, and those that are left beside them.
#[derive(Debug, Default)]
struct Parted {
    deleted: Books,
    left: Books,
    /// What its rollups counted before the events were read, by day.
    counted: BTreeMap<i32, i64>,
}

/// The fleet's, by partition.
#[derive(Debug, Default)]
struct PartedShares {
    deleted: Shares,
    left: Shares,
    /// Days of which an agent's rollup counts more events than are stored: what is left of them nobody knows.
    incomplete: BTreeSet<i32>,
}

impl Work<'_> {
    /// Corrects everything. What is held in memory is the fleet's of some days, and an agent's at a time.
    pub(super) async fn correct(&self, progress: &Progress) -> Result<(), DeleteError> {
        let concerned = self.agents_concerned().await?;
        let others: BTreeSet<String> = self.reader.agents().await?.difference(&concerned).cloned().collect();
        let Some((first, last)) = self.reader.days(&concerned).await? else { return Ok(()) };
        if let Whose::Agent(agent) = &self.deletion.whose
            && self.corrections().await?.is_empty()
        {
            for window in Window::over(first, last) {
                let (_, parted, _) = self.part(agent.clone(), window).await?;
                self.check_stored(agent, &parted)?;
            }
        }
        for window in Window::over(first, last) {
            let mut fleet = PartedShares::default();
            let mut agent_last = None;
            let reads = concerned.iter().cloned().map(|agent| async move { self.part(agent, window).await });
            let mut reads = stream::iter(reads).buffer_unordered(AGENTS_AT_ONCE).boxed();
            let mut done = 0;
            while let Some((agent, mut parted, shares)) = reads.try_next().await? {
                merge(&mut fleet.deleted, shares.deleted);
                merge(&mut fleet.left, shares.left);
                fleet.incomplete.extend(&shares.incomplete);
                let subject = Subject::Agent(agent.as_str().into());
                if matches!(self.deletion.whose, Whose::Agent(_)) {
                    self.take_over_expired(&agent, &mut parted, &mut fleet, window).await?;
                    agent_last = Some((subject, parted));
                } else if !parted.deleted.is_empty() {
                    self.subject(&subject, &parted.deleted, (&parted.left, &shares.incomplete)).await?;
                }
                done += 1;
                progress.now_and_then(|| format!("{done} of {} agents, days {window}", concerned.len()));
            }
            drop(reads);
            if fleet.deleted.is_empty() {
                continue;
            }
            // What is left to the fleet is in all other agents' events too.
            self.add_left(&others, window, &mut fleet, progress).await?;
            for (partition, deleted) in &fleet.deleted {
                let left = fleet.left.remove(partition).unwrap_or_default();
                self.subject(&Subject::Fleet(*partition), deleted, (&left, &fleet.incomplete)).await?;
            }
            // Behind the fleet's: an agent's own rollup may be all that still says what to subtract.
            if let Some((subject, Parted { deleted, left, .. })) = agent_last {
                self.subject(&subject, &deleted, (&left, &BTreeSet::new())).await?;
            }
        }
        Ok(())
    }

    /// Adds what these agents' events are to the fleet.
    async fn add_left(
        &self,
        agents: &BTreeSet<String>,
        window: Window,
        fleet: &mut PartedShares,
        progress: &Progress,
    ) -> Result<(), DeleteError> {
        let reads = agents.iter().cloned().map(|agent| async move { self.part(agent, window).await });
        let mut reads = stream::iter(reads).buffer_unordered(AGENTS_AT_ONCE).boxed();
        let mut done = 0;
        while let Some((.., shares)) = reads.try_next().await? {
            merge(&mut fleet.left, shares.left);
            fleet.incomplete.extend(shares.incomplete);
            done += 1;
            progress.now_and_then(|| format!("{done} of {} other agents, days {window}", agents.len()));
        }
        Ok(())
    }

    /// Everything that was logged before is counted by now. Where the agent's day counts more than is stored, the rest has expired,
    /// or the table is wrong: it must not be called deleted.
    fn check_stored(&self, agent: &str, parted: &Parted) -> Result<(), DeleteError> {
        let unknown = parted.counted.iter().find(|(day, _)| parted.lacks(**day) && !self.may_have_expired(Period::Day(**day)));
        match unknown {
            Some((day, counted)) => Err(DeleteError::MoreCounted {
                agent: agent.to_owned(),
                day: format_day(*day),
                counted: *counted,
                stored: parted.stored(*day),
            }),
            None => Ok(()),
        }
    }

    async fn part(&self, agent: String, window: Window) -> Result<(String, Parted, PartedShares), DeleteError> {
        let (mut parted, mut fleet) = (Parted::default(), PartedShares::default());
        let rollups = self.reader.rollups(&Subject::Agent(agent.as_str().into()), window.days(), false).await?;
        parted.counted = rollups.into_iter().map(|(period, rollup)| (period.day(), rollup.calls)).collect();
        let mut take = |stored: StoredEvent| {
            // What the log never had was never counted; `verify` names it.
            let Some(at) = stored.src.as_deref().and_then(Position::parse_src) else { return };
            let (books, shares) = if self.deletion.holds(&stored.event, at) {
                (&mut parted.deleted, &mut fleet.deleted)
            } else {
                (&mut parted.left, &mut fleet.left)
            };
            books.add(&stored.event, at);
            shares.entry(at.partition).or_default().add(&stored.event, at);
        };
        self.reader.events(&agent, window.start_us(), window.end_us(), |stored| stored.map_or((), &mut take)).await?;
        fleet.incomplete = parted.counted.keys().copied().filter(|day| parted.lacks(*day)).collect();
        Ok((agent, parted, fleet))
    }

    /// Of days whose events may have expired an agent's own rollups say what all of them were. Of a user nothing does.
    async fn take_over_expired(
        &self,
        agent: &str,
        parted: &mut Parted,
        fleet: &mut PartedShares,
        window: Window,
    ) -> Result<(), DeleteError> {
        let subject = Subject::Agent(agent.into());
        let mut periods = Vec::new();
        for by_hour in [false, true] {
            periods.extend(self.reader.rollups(&subject, window.days(), by_hour).await?.into_keys());
        }
        for period in periods.into_iter().filter(|period| self.may_have_expired(*period)) {
            let key = MetricKey { subject: subject.clone(), period };
            let Some(Correctable { rollup, by, .. }) = self.metrics.read_corrected(&key).await? else { continue };
            let Some((of @ (_, partition), mark)) = rollup.marks.last_key_value() else { continue };
            if by.as_deref() == Some(&self.deletion.id) || rollup.calls == 0 {
                continue;
            }
            let sum = Rollup { duplicates: 0, marks: BTreeMap::new(), version: 0, ..rollup.clone() };
            let counted = Counted { sum, marks: BTreeMap::from([(*of, *mark)]) };
            parted.left.counters.remove(&period);
            let read = parted.deleted.counters.insert(period, counted.clone()).map_or_else(Rollup::default, |read| read.sum);
            // Where several partitions wrote it nobody knows which counted what; readers add them up.
            let share = fleet.deleted.entry(*partition).or_default();
            share.counters.entry(period).or_default().sum.add(&less(&counted.sum, &read));
        }
        let users = self.reader.users(&subject, window.days()).await?;
        parted.deleted.users.extend(users.into_iter().filter(|(day, _)| self.may_have_expired(Period::Users(*day))));
        Ok(())
    }

    /// Corrects a subject's items of some days. `left`: what is left of it, and the days of which that is not known.
    async fn subject(&self, subject: &Subject, deleted: &Books, (left, incomplete): (&Books, &BTreeSet<i32>)) -> Result<(), DeleteError> {
        let is_whole = matches!((&self.deletion.whose, subject), (Whose::Agent(of), Subject::Agent(agent)) if **agent == **of);
        let is_known = |period: Period| is_whole || !(self.may_have_expired(period) || incomplete.contains(&period.day()));
        let mut sums: BTreeMap<Period, Rollup> = BTreeMap::new();
        for (period, counted) in &deleted.counters {
            let mut sum = counted.sum.clone();
            if let Period::Day(day) = period
                && let Some(noted) = self.note((subject, *day), &sum, !is_known(*period)).await?
            {
                // Some may have expired since.
                sum = with_maxima_of(noted, &sum);
            }
            sums.insert(*period, sum);
        }
        let nothing = Rollup::default();
        let items = sums.iter().map(|(period, sum)| {
            let left = left.counters.get(period).map_or(&nothing, |counted| &counted.sum);
            let key = MetricKey { subject: subject.clone(), period: *period };
            let left = is_known(*period).then_some(left);
            async move { self.item(&key, sum, left).await }
        });
        stream::iter(items.collect::<Vec<_>>()).buffer_unordered(WRITES_AT_ONCE).try_collect::<Vec<()>>().await?;
        for (day, users) in &deleted.users {
            let left = left.users.get(day).cloned().unwrap_or_default();
            if is_known(Period::Users(*day)) && !users.is_within(&left) {
                let key = MetricKey { subject: subject.clone(), period: Period::Users(*day) };
                self.users(&key, &left).await?;
            }
        }
        Ok(())
    }

    /// Corrects one item, unless that was done before. `left`: what is left of it, where that is known.
    async fn item(&self, key: &MetricKey, deleted: &Rollup, left: Option<&Rollup>) -> Result<(), DeleteError> {
        loop {
            self.reader.pace(1).await;
            // Without a rollup the events were never counted; `verify` names that.
            let Some(read) = self.metrics.read_corrected(key).await? else { return Ok(()) };
            if read.by.as_deref() == Some(&self.deletion.id) {
                return Ok(());
            }
            self.check_stage().await?;
            let corrected = corrected(&read.rollup, deleted, left);
            if self.metrics.put_corrected(key, &read, (&corrected, &self.deletion.id, &names_kept(&read.rollup))).await? {
                return Ok(());
            }
            // Counted into meanwhile.
        }
    }

    async fn users(&self, key: &MetricKey, left: &UserSet) -> Result<(), DeleteError> {
        loop {
            self.reader.pace(1).await;
            let mut stored = self.metrics.read_users(key).await?;
            if stored.version.is_none() {
                return Ok(());
            }
            self.check_stage().await?;
            stored.set.clone_from(left);
            for Position { epoch, partition, offset } in self.deletion.before.positions() {
                if let Some(mark) = offset.checked_sub(1) {
                    stored.marks.insert((epoch, partition), mark);
                }
            }
            if self.metrics.put_users(key, &stored).await? {
                return Ok(());
            }
        }
    }
}

impl Parted {
    /// Events of a day that are stored.
    fn stored(&self, day: i32) -> i64 {
        let calls = |books: &Books| books.counters.get(&Period::Day(day)).map_or(0, |counted| counted.sum.calls);
        calls(&self.deleted) + calls(&self.left)
    }

    /// Whether fewer are stored than its rollup counts.
    fn lacks(&self, day: i32) -> bool {
        self.counted.get(&day).is_some_and(|counted| *counted > self.stored(day))
    }
}

/// These counters with those maxima.
fn with_maxima_of(mut counters: Rollup, maxima: &Rollup) -> Rollup {
    for (name, value) in maxima.maxima() {
        counters.set_counter(&name, value);
    }
    counters
}

/// The item without the deleted events. A maximum that one of them made becomes that of what is left, where that is known.
fn corrected(stored: &Rollup, deleted: &Rollup, left: Option<&Rollup>) -> Rollup {
    let mut deleted = deleted.clone();
    Names::of(stored).cap(&mut deleted);
    let mut corrected = less(stored, &deleted);
    corrected.marks.clone_from(&stored.marks);
    corrected.version = stored.version + 1;
    let (made, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (deleted.maxima().into_iter().collect(), left.map(Rollup::maxima).unwrap_or_default().into_iter().collect());
    for (name, value) in stored.maxima() {
        let is_made = left.is_some() && made.get(&name).is_some_and(|made| *made >= value);
        let value = if is_made { rest.get(&name).copied().unwrap_or(0) } else { value };
        corrected.set_counter(&name, value);
    }
    corrected
}

/// Counters of names that have to stay even where nothing is left under them: in an item that has as many as it may, a name that
/// is gone would make room for another of which a part is counted as `(other)` already.
pub(super) fn names_kept(stored: &Rollup) -> Vec<String> {
    fn of<'a>(prefix: &str, names: impl Iterator<Item = &'a String>) -> Vec<String> {
        let own: Vec<String> = names.filter(|name| *name != OTHER).map(|name| format!("{prefix}#{name}")).collect();
        if own.len() >= NAMES_PER_ITEM { own } else { Vec::new() }
    }
    [of("m", stored.models.keys()), of("t", stored.tools.keys()), of("e", stored.error_types.keys())].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::{add, fold};
    use schemas::{AgentEvent, MessageType};

    fn sum(events: &[(i64, f64, &str)]) -> Rollup {
        let mut sum = Rollup::default();
        for (at, ms, model) in events {
            let mut event = AgentEvent::new("a", *at, "e", MessageType::AgentResponse);
            event.response_time_ms = Some(*ms);
            event.model_used = Some((*model).to_owned());
            add(&mut sum, &fold(&event), true);
        }
        sum
    }

    #[test]
    fn what_is_subtracted_leaves_what_the_rest_adds_up_to() {
        let (gone, rest) = ([(9, 50.0, "x"), (3, 1.0, "y")], [(5, 20.0, "x"), (6, 7.0, "z")]);
        let mut stored = sum(&[gone, rest].concat());
        stored.marks.insert((1, 2), 77);
        (stored.version, stored.duplicates) = (4, 3);
        let left = sum(&rest);
        let corrected = corrected(&stored, &sum(&gone), Some(&left));
        let expected = Rollup { marks: stored.marks.clone(), version: 5, duplicates: 3, ..left };
        // A name that is gone has no counters; one that is left has all of them.
        assert_eq!(corrected, expected);
        assert!(names_kept(&stored).is_empty());
    }

    #[test]
    fn a_maximum_stays_where_it_is_not_known_what_is_left() {
        let stored = sum(&[(9, 50.0, "x"), (5, 20.0, "x")]);
        assert_eq!(corrected(&stored, &sum(&[(9, 50.0, "x")]), None).latency_max_us, 50_000);
    }

    #[test]
    fn names_in_a_full_item_stay_taken() {
        let names: Vec<String> = (0..70).map(|n| format!("model-{n:02}")).collect();
        let events: Vec<(i64, f64, &str)> = names.iter().map(|name| (1, 1.0, name.as_str())).collect();
        let mut stored = sum(&events);
        Names::default().cap(&mut stored);
        let corrected = corrected(&stored, &sum(&events[60..]), Some(&sum(&events[..60])));
        let of = |name: &str| corrected.models.get(name).map_or(0, |model| model.calls);
        assert_eq!((of("model-59"), of("model-63"), of(OTHER)), (1, 0, 0));
        let kept = names_kept(&stored);
        assert!(kept.len() == NAMES_PER_ITEM && kept.contains(&"m#model-63".to_owned()));
    }
}
