//! Brings up to date what cannot be subtracted. While rollups were corrected, an aggregator that remembered the old maxima and
//! users did not write what lay below them; by now each has begun anew, and everything that it left out is a stored event.

use super::correct::names_kept;
use super::correction::Correction;
use super::{AGENTS_AT_ONCE, DeleteError, WRITES_AT_ONCE, Work};
use crate::announce::{announce, totals_record};
use crate::books::{Books, Shares, merge};
use crate::verify::{Progress, Window};
use event_log::{Before, Position, Record};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::item::{MetricKey, Period, StoredEvent, Subject, event_of_item};
use schemas::rollup::Rollup;
use schemas::time::{DAY_US, day_of};
use schemas::users::UserSet;
use service_kit::deletions::Whose;
use std::collections::{BTreeMap, BTreeSet};

impl Work<'_> {
    pub(super) async fn settle(&mut self, progress: &Progress) -> Result<(), DeleteError> {
        let corrections = self.corrections().await?;
        let of_fleet = |correction: &&Correction| matches!(correction.subject, Subject::Fleet(_));
        self.deletion.events = corrections.iter().filter(of_fleet).map(|c| u64::try_from(c.calls).unwrap_or(0)).sum();
        let days = || corrections.iter().map(|correction| correction.day);
        let (Some(first), Some(last)) = (days().min(), days().max()) else { return Ok(()) };
        // What is not counted yet comes to aggregators that have begun anew.
        let before = self.deleter.await_counted(&self.store, progress).await?;
        let mut agents = self.reader.agents().await?;
        // One that was deleted may have come back, and the directory may not know yet.
        agents.extend(self.agents_concerned().await?);
        for window in Window::over(first, last) {
            let of_window: Vec<&Correction> = corrections.iter().filter(|c| (window.days().0..=window.days().1).contains(&c.day)).collect();
            if of_window.is_empty() {
                continue;
            }
            let corrected: BTreeSet<Subject> = of_window.iter().map(|correction| correction.subject.clone()).collect();
            let (mut own, fleet) = self.left(&agents, &corrected, (window, &before), progress).await?;
            own.extend(fleet.into_iter().map(|(partition, books)| (Subject::Fleet(partition), books)));
            for correction in of_window {
                if let Some(books) = own.get(&correction.subject) {
                    self.raise(correction, books).await?;
                }
            }
        }
        if let Whose::Agent(agent) = &self.deletion.whose {
            self.register_again(agent).await?;
        }
        self.announce(&corrections).await
    }

    /// What the events of some days add up to now: to the agents that are kept, and to the fleet.
    async fn left(
        &self,
        agents: &BTreeSet<String>,
        kept: &BTreeSet<Subject>,
        (window, before): (Window, &Before),
        progress: &Progress,
    ) -> Result<(BTreeMap<Subject, Books>, Shares), DeleteError> {
        let reads = agents.iter().cloned().map(|agent| async move {
            let (mut books, mut shares) = (Books::default(), Shares::new());
            let mut take = |stored: StoredEvent| {
                let Some(at) = stored.src.as_deref().and_then(Position::parse_src).filter(|at| before.holds(*at)) else { return };
                books.add(&stored.event, at);
                shares.entry(at.partition).or_default().add(&stored.event, at);
            };
            self.reader.events(&agent, window.start_us(), window.end_us(), |stored| stored.map_or((), &mut take)).await?;
            Ok::<_, DeleteError>((Subject::Agent(agent.as_str().into()), books, shares))
        });
        let mut reads = stream::iter(reads).buffer_unordered(AGENTS_AT_ONCE).boxed();
        let (mut own, mut fleet, mut done) = (BTreeMap::new(), Shares::new(), 0);
        while let Some((subject, books, shares)) = reads.try_next().await? {
            if kept.contains(&subject) {
                own.insert(subject, books);
            }
            merge(&mut fleet, shares);
            done += 1;
            progress.now_and_then(|| format!("{done} of {} agents settled, days {window}", agents.len()));
        }
        Ok((own, fleet))
    }

    /// Raises the maxima of a day and its hours, and unites its users.
    async fn raise(&self, correction: &Correction, books: &Books) -> Result<(), DeleteError> {
        let hours = (correction.day * 24..correction.day * 24 + 24).map(Period::Hour);
        let items = std::iter::once(Period::Day(correction.day)).chain(hours).filter_map(|period| {
            let sum = &books.counters.get(&period)?.sum;
            let key = MetricKey { subject: correction.subject.clone(), period };
            Some(async move { self.raise_item(&key, sum).await })
        });
        stream::iter(items.collect::<Vec<_>>()).buffer_unordered(WRITES_AT_ONCE).try_collect::<Vec<()>>().await?;
        if let Some(users) = books.users.get(&correction.day) {
            let key = MetricKey { subject: correction.subject.clone(), period: Period::Users(correction.day) };
            self.unite(&key, users).await?;
        }
        Ok(())
    }

    async fn unite(&self, key: &MetricKey, users: &UserSet) -> Result<(), DeleteError> {
        loop {
            self.reader.pace(1).await;
            let mut stored = self.metrics.read_users(key).await?;
            self.check_stage().await?;
            stored.set.unite(users);
            // Written in any case: whoever still corrects this set must find another version.
            if self.metrics.put_users(key, &stored).await? {
                return Ok(());
            }
        }
    }

    async fn raise_item(&self, key: &MetricKey, sum: &Rollup) -> Result<(), DeleteError> {
        loop {
            self.reader.pace(1).await;
            let Some(read) = self.metrics.read_corrected(key).await? else { return Ok(()) };
            // One that was never corrected was never lowered.
            let Some(by) = read.by.as_deref() else { return Ok(()) };
            let known: BTreeMap<String, i64> = read.rollup.maxima().into_iter().collect();
            let mut raised = read.rollup.clone();
            for (name, value) in sum.maxima() {
                raised.set_counter(&name, value.max(known.get(&name).copied().unwrap_or(0)));
            }
            if raised == read.rollup {
                return Ok(());
            }
            self.check_stage().await?;
            raised.version += 1;
            if self.metrics.put_corrected(key, &read, (&raised, by, &names_kept(&read.rollup))).await? {
                return Ok(());
            }
        }
    }

    /// Lists an agent again that has posted since: its aggregator may have thought that it was listed.
    async fn register_again(&self, agent: &str) -> Result<(), DeleteError> {
        let Some((first, last)) = self.reader.span(agent).await? else { return Ok(()) };
        let mut pages = self.reader.event_pages(agent, i64::from(first) * DAY_US, (i64::from(last) + 1) * DAY_US);
        let mut first_seen: Option<i64> = None;
        while let Some(page) = pages.next(&self.reader).await? {
            let earliest = page.iter().filter_map(event_of_item).map(|stored| stored.event.timestamp).min();
            first_seen = [first_seen, earliest].into_iter().flatten().min();
        }
        match first_seen {
            Some(at) => Ok(self.metrics.register_first(agent, at).await?),
            None => Ok(()),
        }
    }

    /// Tells the live tables.
    async fn announce(&self, corrections: &[Correction]) -> Result<(), DeleteError> {
        let live = self.first_live_day()..=day_of(schemas::time::now_micros()) + 1;
        let mut records: Vec<Record> = Vec::new();
        for correction in corrections.iter().filter(|c| live.contains(&c.day)) {
            let key = MetricKey { subject: correction.subject.clone(), period: Period::Day(correction.day) };
            if let Some(rollup) = self.metrics.read(&key).await? {
                records.extend(totals_record(&key, &rollup, self.generation, self.deleter.wire_form));
            }
        }
        // What the log says of the store must be durable there.
        self.sync().await?;
        let announcements = records.into_iter().map(|record| announce(&self.deleter.log, &self.deleter.topics.metrics, record));
        stream::iter(announcements).buffer_unordered(WRITES_AT_ONCE).collect::<Vec<()>>().await;
        Ok(())
    }
}
