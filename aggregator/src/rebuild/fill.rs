//! Fills the new table with everything from before the positions that the aggregators count into both: agent by agent,
//! then the fleet, some days at a time, one write per item.

use super::item::{Source, apart, filled};
use super::report::FillTally;
use super::reprice::Reprice;
use super::{RebuildError, Rebuilder};
use crate::GROUP;
use crate::books::{Books, Counted, Shares, merge};
use crate::partition::Guards;
use crate::rebuild_from::{self, From};
use crate::store::{FILLED, MetricsStore};
use crate::verify::{ItemName, Progress, Reader, Stage, Window, differences, may_have_expired};
use event_log::{Before, Position};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::item::{MetricKey, Period, StoredEvent, Subject, TableNames};
use schemas::time::{day_of, now_micros};
use service_kit::store::patient;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Agents counted at once.
const AGENTS_AT_ONCE: usize = 8;
/// Items of one agent filled at once.
const ITEMS_AT_ONCE: usize = 8;
/// Between looks at an item whose two versions hold different parts of what comes by the log: a flush reaches both within
/// moments of each other, unless their aggregator died in between.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(15);
/// Days of append of which the log's own items are taken over.
const MOST_LOG_DAYS: i32 = 400;

pub(super) struct Fill<'a> {
    rebuilder: &'a Rebuilder,
    /// Of the raw events and the old table.
    reader: Reader,
    old: MetricsStore,
    new: MetricsStore,
    before: Before,
    partitions: BTreeSet<u32>,
}

impl<'a> Fill<'a> {
    pub(super) async fn open(
        rebuilder: &'a Rebuilder,
        (old, new): (TableNames, TableNames),
        from: BTreeMap<u32, From>,
    ) -> Result<Self, RebuildError> {
        let reader = Reader::open(&rebuilder.store, old.clone(), rebuilder.options.items_per_second).await?;
        let mut partitions = reader.checkpointed_partitions(&rebuilder.topics.events).await?;
        partitions.extend(0..rebuilder.log.partitions(&rebuilder.topics.events).await?);
        let store = |table: TableNames| MetricsStore {
            store: patient(&rebuilder.store),
            table: table.metrics,
            epoch: 0,
            guards: Guards::default(),
        };
        let mut epoch = 0;
        for partition in &partitions {
            let checkpoint = reader.checkpoint(&rebuilder.topics.events, *partition).await?;
            epoch = epoch.max(checkpoint.map_or(0, |checkpoint| checkpoint.epoch));
        }
        Ok(Self { rebuilder, reader, old: store(old), new: store(new), before: rebuild_from::before(&from, epoch), partitions })
    }

    pub(super) async fn run(&self, progress: &Progress) -> Result<FillTally, RebuildError> {
        let directory = self.reader.directory().await?;
        let mut tally = FillTally { agents: directory.len() as u64, ..FillTally::default() };
        // Listed first: whatever is counted afterwards is of an agent that the new table knows.
        stream::iter(directory.clone())
            .map(|(agent, first_seen)| async move { self.new.register_first(&agent, first_seen).await })
            .buffer_unordered(ITEMS_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        let agents: BTreeSet<String> = directory.into_keys().collect();
        tally.add(self.log_items().await?);
        let Some((first, last)) = self.reader.days(&agents).await? else { return Ok(tally) };
        if let Some(prices) = self.rebuilder.options.price_table()? {
            let (store, tables) = (patient(&self.rebuilder.store), self.rebuilder.tables.clone());
            let reprice = Reprice { prices, store, tables, reader: &self.reader, before: &self.before };
            tally.repriced = reprice.run(&self.new.table, &agents, (first, last), progress).await?;
        }
        for window in Window::over(first, last) {
            let mut shares = Shares::new();
            let counts = agents.iter().cloned().map(|agent| async move { self.agent(agent, window).await });
            let mut counts = stream::iter(counts).buffer_unordered(AGENTS_AT_ONCE).boxed();
            let mut done = 0;
            while let Some((of_agent, share)) = counts.try_next().await? {
                tally.add(of_agent);
                merge(&mut shares, share);
                done += 1;
                progress.report(Stage::Window(window), done, Some(agents.len() as u64));
            }
            let written: BTreeSet<u32> = self.partitions.iter().chain(shares.keys()).copied().collect();
            for partition in written {
                let books = shares.remove(&partition).unwrap_or_default();
                tally.add(self.subject(&Subject::Fleet(partition), window, &books).await?);
            }
        }
        Ok(tally)
    }

    /// What became of the records of each day: the log may have trimmed them, so the old table's word is taken.
    async fn log_items(&self) -> Result<FillTally, RebuildError> {
        let today = day_of(now_micros());
        let mut tally = FillTally::default();
        for partition in &self.partitions {
            let subject = Subject::Log(*partition);
            for period in self.reader.rollups(&subject, (today - MOST_LOG_DAYS, today + 1), false).await?.into_keys() {
                let key = MetricKey { subject: subject.clone(), period };
                self.item(&key, Source::Old, &mut tally).await?;
            }
        }
        // Told of items whose raw events expired; these never had any.
        tally.taken_over = 0;
        Ok(tally)
    }

    /// Counts an agent's events of some days and fills its items; with what they add to the fleet's.
    async fn agent(&self, agent: String, window: Window) -> Result<(FillTally, Shares), RebuildError> {
        let (mut books, mut shares, mut events) = (Books::default(), Shares::new(), 0);
        let mut take = |stored: StoredEvent| {
            // What the log never had is not counted; `verify` names it.
            let Some(at) = stored.src.as_deref().and_then(Position::parse_src).filter(|at| self.before.holds(*at)) else { return };
            events += 1;
            books.add(&stored.event, at);
            shares.entry(at.partition).or_default().add(&stored.event, at);
        };
        self.reader.events(&agent, window.start_us(), window.end_us(), |stored| stored.map_or((), &mut take)).await?;
        let mut tally = self.subject(&Subject::Agent(agent.as_str().into()), window, &books).await?;
        tally.events = events;
        Ok((tally, shares))
    }

    /// Fills a subject's items of some days.
    async fn subject(&self, subject: &Subject, window: Window, books: &Books) -> Result<FillTally, RebuildError> {
        let mut periods: BTreeSet<Period> = books.counters.keys().copied().collect();
        for by_hour in [false, true] {
            periods.extend(self.reader.rollups(subject, window.days(), by_hour).await?.into_keys());
        }
        let nothing = Counted::default();
        let fills = periods.into_iter().map(|period| {
            let key = MetricKey { subject: subject.clone(), period };
            let counted = books.counters.get(&period).unwrap_or(&nothing);
            let source = if self.may_have_expired(period) { Source::Old } else { Source::Events(counted) };
            async move {
                let mut tally = FillTally::default();
                self.item(&key, source, &mut tally).await?;
                Ok::<_, RebuildError>(tally)
            }
        });
        let mut tallies = stream::iter(fills).buffer_unordered(ITEMS_AT_ONCE).boxed();
        let mut tally = FillTally::default();
        while let Some(of_item) = tallies.try_next().await? {
            tally.add(of_item);
        }
        drop(tallies);
        let mut users = books.users.clone();
        for (day, set) in self.reader.users(subject, window.days()).await? {
            if self.may_have_expired(Period::Users(day)) {
                users.entry(day).or_default().unite(&set);
            }
        }
        for (day, set) in users {
            let key = MetricKey { subject: subject.clone(), period: Period::Users(day) };
            self.new.unite_set(&key, &set).await?;
            tally.user_sets += 1;
        }
        Ok(tally)
    }

    /// Fills one item, unless that was done before.
    async fn item(&self, key: &MetricKey, source: Source<'_>, tally: &mut FillTally) -> Result<(), RebuildError> {
        let mut committed = None;
        loop {
            self.reader.pace(2).await;
            let ((new, is_filled), old) = futures::future::try_join(self.new.read_with(key, FILLED), self.old.read(key)).await?;
            if is_filled {
                tally.filled_before += 1;
                return Ok(());
            }
            let (is_new, new, old) = (new.is_none(), new.unwrap_or_default(), old.unwrap_or_default());
            let apart = apart(&self.before, &old, &new);
            if !apart.is_empty() {
                self.check_passing(key, &apart, committed.as_deref())?;
                tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                // Asked before the next look: what was finished by then is in both, or never will be.
                committed = Some(self.rebuilder.log.committed(GROUP, &self.rebuilder.topics.events).await?);
                continue;
            }
            let filled = filled(&old, &new, source);
            if !self.new.put_filled(key, &filled, (!is_new).then_some(new.version)).await? {
                // Counted into meanwhile.
                continue;
            }
            tally.items += 1;
            tally.taken_over += u64::from(source == Source::Old);
            tally.lowered += u64::from(filled.calls < old.calls);
            differences(key, &old, filled, false).into_iter().for_each(|change| tally.change(change));
            return Ok(());
        }
    }

    /// That two versions of an item hold different parts of the log passes, unless the log is committed beyond both.
    fn check_passing(
        &self,
        key: &MetricKey,
        apart: &BTreeMap<(u32, u32), u64>,
        committed: Option<&[Option<u64>]>,
    ) -> Result<(), RebuildError> {
        let Some(committed) = committed else { return Ok(()) };
        let is_finished = |partition: u32, mark: u64| committed.get(partition as usize).copied().flatten().is_some_and(|next| next > mark);
        let lasting = apart.iter().find(|((epoch, partition), mark)| self.before.is_over(*epoch) || is_finished(*partition, **mark));
        match lasting {
            Some(_) => Err(RebuildError::Apart { item: ItemName::from(key).name }),
            None => Ok(()),
        }
    }

    /// Whether some raw events of the period may be deleted by now.
    fn may_have_expired(&self, period: Period) -> bool {
        may_have_expired(period, self.rebuilder.options.retention)
    }
}
