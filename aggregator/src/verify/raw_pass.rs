//! The pass over the raw events: each agent's are counted again, and every rollup that they touch must say the same.
//!
//! A rollup's marks say which positions it holds, so this is exact while new events keep coming: the rollup is read
//! first, then the events, and of these the ones beyond its marks are left out. They are pending, unless the whole
//! partition is finished beyond them.

use super::compare::differences;
use super::finding::{EventName, Finding, ItemName};
use super::log_pass::LogPass;
use super::progress::{Progress, Stage};
use super::read::Reader;
use super::report::RawTally;
use super::window::{Window, may_have_expired};
use super::{Findings, Verifier, VerifyError};
use crate::fold::{self, fold};
use event_log::{Bounds, Position};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::AgentEvent;
use schemas::item::{MetricKey, Period, StoredEvent, Subject, event_sort_key};
use schemas::rollup::Rollup;
use schemas::time::{day_of, hour_of};
use schemas::users::{UserSet, user_hash};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::Mutex;

/// Agents recounted at once.
const AGENTS_AT_ONCE: usize = 8;
/// How often the directory is read again for agents that came meanwhile, where the fleet's numbers do not agree, and after which pause.
const LOOKS_FOR_NEWCOMERS: u32 = 3;
const NEWCOMERS_PAUSE: Duration = Duration::from_secs(1);
/// Events of one agent and window that are looked up in the log because its numbers do not agree.
const MOST_LOOKED_UP: usize = 100_000;

/// What every agent's recount needs to know.
pub(super) struct RawPass<'a> {
    pub(super) verifier: &'a Verifier,
    pub(super) reader: &'a Reader,
    /// The epoch that is counted now.
    pub(super) epoch: u32,
    pub(super) log_pass: &'a LogPass,
    /// The next offset to be committed, by partition of the current epoch.
    pub(super) committed: &'a BTreeMap<u32, u64>,
    /// The log's partitions; the fleet has a rollup for each.
    pub(super) partitions: BTreeSet<u32>,
    /// Ends of the log's partitions, as last looked at.
    pub(super) ends: Mutex<BTreeMap<u32, u64>>,
}

/// The rollups of one subject within a window: as stored, and as recounted.
#[derive(Debug, Default)]
struct Books {
    stored: BTreeMap<Period, Rollup>,
    recounted: BTreeMap<Period, Rollup>,
    users: BTreeMap<i32, Users>,
    users_before: BTreeMap<i32, UserSet>,
}

/// The users of a day.
#[derive(Clone, Debug, Default)]
struct Users {
    /// Of events that are surely finished.
    finished: UserSet,
    /// Of all events.
    all: UserSet,
}

/// What one agent adds to the fleet's books: by partition and period, and the users by partition and day.
#[derive(Debug, Default)]
struct Shares {
    counters: BTreeMap<(u32, Period), Rollup>,
    users: BTreeMap<(u32, i32), Users>,
}

/// What agents come to.
#[derive(Debug, Default)]
struct Sums {
    tally: RawTally,
    shares: Shares,
    findings: Vec<Finding>,
    /// Findings beyond those that are kept.
    beyond: u64,
}

#[derive(Debug, Default)]
struct AgentResult {
    findings: Vec<Finding>,
    tally: RawTally,
    shares: Shares,
}

impl RawPass<'_> {
    /// Recounts one window: every agent's books, then the fleet's.
    pub(super) async fn run(
        &self,
        window: Window,
        agents: &BTreeSet<String>,
        findings: &mut Findings,
        progress: &Progress,
    ) -> Result<RawTally, VerifyError> {
        let mut fleet = BTreeMap::new();
        for partition in &self.partitions {
            fleet.insert(*partition, self.open_books(&Subject::Fleet(*partition), window).await?);
        }
        let mut sums = Sums::default();
        self.recount(agents, window, &fleet, &mut sums, progress).await?;
        let mut known = agents.clone();
        let mut looks = 0;
        let (of_fleet, differing) = loop {
            let mut of_fleet = RawTally::default();
            let mut differing = Vec::new();
            for (partition, books) in &mut fleet {
                books.take(&sums.shares, *partition);
                let subject = Subject::Fleet(*partition);
                differing.extend(self.compare(&subject, books, &mut of_fleet));
                differing.extend(self.compare_users(&subject, books, window, &mut of_fleet).await?);
            }
            if differing.is_empty() || looks == LOOKS_FOR_NEWCOMERS {
                break (of_fleet, differing);
            }
            // An agent that came meanwhile is in the fleet's numbers; the directory lists it a little later.
            looks += 1;
            tokio::time::sleep(NEWCOMERS_PAUSE).await;
            let newcomers: BTreeSet<String> = self.reader.agents().await?.difference(&known).cloned().collect();
            self.recount(&newcomers, window, &fleet, &mut sums, progress).await?;
            known.extend(newcomers);
        };
        sums.tally.add(&of_fleet);
        sums.findings.into_iter().chain(differing).for_each(|finding| findings.add(finding));
        findings.add_unnamed(sums.beyond);
        Ok(sums.tally)
    }

    /// Recounts these agents and adds what they come to.
    async fn recount(
        &self,
        agents: &BTreeSet<String>,
        window: Window,
        fleet: &BTreeMap<u32, Books>,
        sums: &mut Sums,
        progress: &Progress,
    ) -> Result<(), VerifyError> {
        let recounts = agents.iter().cloned().map(|agent| async move { self.agent(&agent, window, fleet).await });
        let mut results = stream::iter(recounts).buffer_unordered(AGENTS_AT_ONCE).boxed();
        let mut done = 0;
        while let Some(result) = results.try_next().await? {
            sums.tally.add(&result.tally);
            let room = super::MOST_FINDINGS.saturating_sub(sums.findings.len());
            sums.beyond += result.findings.len().saturating_sub(room) as u64;
            sums.findings.extend(result.findings.into_iter().take(room));
            sums.shares.merge(result.shares);
            done += 1;
            progress.report(Stage::Window(window), done, Some(agents.len() as u64));
        }
        Ok(())
    }

    async fn open_books(&self, subject: &Subject, window: Window) -> Result<Books, VerifyError> {
        let mut stored = self.reader.rollups(subject, window.days(), false).await?;
        stored.extend(self.reader.rollups(subject, window.days(), true).await?);
        let users_before = self.reader.users(subject, window.days()).await?;
        Ok(Books { stored, users_before, ..Books::default() })
    }

    async fn agent(&self, agent: &str, window: Window, fleet: &BTreeMap<u32, Books>) -> Result<AgentResult, VerifyError> {
        let subject = Subject::Agent(agent.into());
        let mut foreign: BTreeMap<String, String> = BTreeMap::new();
        let mut is_looked_up = false;
        loop {
            let mut result = AgentResult::default();
            let mut books = self.open_books(&subject, window).await?;
            let (mut found, mut pending) = (Vec::new(), Vec::new());
            let mut take = |stored: &StoredEvent| {
                let position = stored.src.as_deref().and_then(Position::parse_src);
                let key = event_sort_key(stored.event.timestamp, &stored.event.event_id);
                if let Some(reason) = foreign.get(&key).cloned().or_else(|| self.is_no_position(position)) {
                    found.push(Finding::EventForeign { event: EventName::from(&stored.event), reason });
                    return;
                }
                if let Some(position) = position {
                    let is_pending = !self.count(&stored.event, position, &mut books, fleet, &mut result.shares);
                    result.tally.events += 1;
                    if self.log_pass.has_judged(self.epoch, position) {
                        *result.tally.judged.entry(position.partition).or_default() += 1;
                    }
                    result.tally.pending += u64::from(is_pending);
                    if is_pending && pending.len() < MOST_LOOKED_UP {
                        pending.push((position, key));
                    }
                }
            };
            let mut unreadable = Vec::new();
            self.reader
                .events(agent, window.start_us(), window.end_us(), |stored| match stored {
                    Ok(stored) => take(&stored),
                    Err(event) => unreadable.push(Finding::EventForeign { event, reason: "it cannot be read as an event".into() }),
                })
                .await?;
            // What the table lost was counted before.
            for (position, event) in self.log_pass.missing.get(agent).into_iter().flatten().filter(|(_, e)| window.holds(e.timestamp)) {
                self.count(event, *position, &mut books, fleet, &mut result.shares);
            }
            if foreign.is_empty() {
                foreign = self.beyond_the_end(pending).await?;
                if !foreign.is_empty() {
                    continue;
                }
            }
            let differing = self.compare(&subject, &books, &mut result.tally);
            if !differing.is_empty() && !is_looked_up {
                is_looked_up = true;
                let others = self.find_foreign(agent, window).await?;
                if !others.is_empty() {
                    foreign.extend(others);
                    continue;
                }
            }
            result.findings = found;
            result.findings.extend(unreadable);
            result.findings.extend(differing);
            result.findings.extend(self.compare_users(&subject, &books, window, &mut result.tally).await?);
            return Ok(result);
        }
    }

    /// Adds an event to the books that should hold it; whether the agent's all should.
    fn count(&self, event: &AgentEvent, at: Position, books: &mut Books, fleet: &BTreeMap<u32, Books>, shares: &mut Shares) -> bool {
        let addition = fold(event);
        let periods = [Period::Day(day_of(event.timestamp)), Period::Hour(hour_of(event.timestamp))];
        let mut is_held = true;
        for period in periods {
            let with_slots = matches!(period, Period::Hour(_));
            if self.should_hold(books.stored.get(&period), at) {
                fold::add(books.recounted.entry(period).or_default(), &addition, with_slots);
            } else {
                is_held = false;
            }
            if self.should_hold(fleet.get(&at.partition).and_then(|f| f.stored.get(&period)), at) {
                fold::add(shares.counters.entry((at.partition, period)).or_default(), &addition, with_slots);
            }
        }
        if let Some(user) = &event.user_id {
            let (hash, day, is_finished) = (user_hash(user), day_of(event.timestamp), self.is_finished(at));
            books.users.entry(day).or_default().insert(hash, is_finished);
            shares.users.entry((at.partition, day)).or_default().insert(hash, is_finished);
        }
        is_held
    }

    /// Whether a rollup holds that position, or ought to.
    fn should_hold(&self, stored: Option<&Rollup>, at: Position) -> bool {
        let mark = stored.and_then(|rollup| rollup.marks.get(&(at.epoch, at.partition)));
        mark.is_some_and(|mark| *mark >= at.offset) || self.is_finished(at)
    }

    /// Whether everything of the position is done. What an earlier epoch left undone stays undone.
    fn is_finished(&self, at: Position) -> bool {
        at.epoch < self.epoch || self.committed.get(&at.partition).is_some_and(|committed| at.offset < *committed)
    }

    /// Why an event cannot have come from the log, by its position alone.
    fn is_no_position(&self, position: Option<Position>) -> Option<String> {
        let Some(position) = position else { return Some("it names no record of the log (`src`)".into()) };
        (position.epoch > self.epoch).then(|| format!("its record {position} is of a later epoch than {}", self.epoch))
    }

    /// Events that wait to be counted, although the log has not come to their records yet; by sort key, with the reason.
    async fn beyond_the_end(&self, pending: Vec<(Position, String)>) -> Result<BTreeMap<String, String>, VerifyError> {
        let mut foreign = BTreeMap::new();
        if self.verifier.options.skip_log {
            return Ok(foreign);
        }
        for (position, key) in pending {
            let known = |ends: &BTreeMap<u32, u64>| ends.get(&position.partition).is_some_and(|end| position.offset < *end);
            if known(&*self.ends.lock().await) {
                continue;
            }
            if !self.partitions.contains(&position.partition)
                && self.verifier.log.partitions(&self.verifier.topics.events).await? <= position.partition
            {
                foreign.insert(key, format!("the log has no partition for its record {position}"));
                continue;
            }
            let end = self.verifier.log.bounds(&self.verifier.topics.events, position.partition).await?.end;
            self.ends.lock().await.insert(position.partition, end);
            if position.offset >= end {
                foreign.insert(key, format!("its record {position} is beyond the log's end {end}"));
            }
        }
        Ok(foreign)
    }

    /// The agent's events whose record in the log is another event's or none, by sort key, with the reason.
    async fn find_foreign(&self, agent: &str, window: Window) -> Result<BTreeMap<String, String>, VerifyError> {
        let log = &self.verifier.log;
        let mut suspects = Vec::new();
        self.reader
            .events(agent, window.start_us(), window.end_us(), |stored| {
                let Ok(stored) = stored else { return };
                let position = stored.src.as_deref().and_then(Position::parse_src);
                if let Some(position) = position.filter(|p| p.epoch == self.epoch && self.partitions.contains(&p.partition))
                    && suspects.len() < MOST_LOOKED_UP
                {
                    suspects.push((position, stored.event));
                }
            })
            .await?;
        let mut bounds: BTreeMap<u32, Bounds> = BTreeMap::new();
        for partition in &self.partitions {
            bounds.insert(*partition, log.bounds(&self.verifier.topics.events, *partition).await?);
        }
        let mut foreign = BTreeMap::new();
        for (position, event) in suspects {
            let Some(bounds) = bounds.get(&position.partition).filter(|bounds| position.offset >= bounds.start) else { continue };
            if position.offset >= bounds.end {
                continue;
            }
            let Some(record) = log.record_at(&self.verifier.topics.events, position.partition, position.offset).await? else { continue };
            let reason = match self.verifier.decoder.decode(&record).await {
                Ok(own) if own.agent_id == event.agent_id && own.timestamp == event.timestamp && own.event_id == event.event_id => None,
                Ok(own) => Some(format!("its record {position} is {}", EventName::from(&own))),
                Err(_) => Some(format!("its record {position} can be no event")),
            };
            if let Some(reason) = reason {
                foreign.insert(event_sort_key(event.timestamp, &event.event_id), reason);
            }
        }
        Ok(foreign)
    }

    /// Compares every rollup that is stored or ought to be.
    fn compare(&self, subject: &Subject, books: &Books, tally: &mut RawTally) -> Vec<Finding> {
        let mut findings = Vec::new();
        let empty = Rollup::default();
        let periods: BTreeSet<Period> = books.stored.keys().chain(books.recounted.keys()).copied().collect();
        for period in periods {
            if self.may_have_expired(period) {
                tally.expired_items += 1;
                continue;
            }
            let key = MetricKey { subject: subject.clone(), period };
            let stored = books.stored.get(&period).unwrap_or(&empty);
            let mut recount = books.recounted.get(&period).cloned().unwrap_or_default();
            let duplicates = self.log_pass.duplicates.as_ref().filter(|_| self.is_settled(stored));
            if let Some(duplicates) = duplicates {
                recount.duplicates = duplicates.get(&key).copied().unwrap_or(0);
            }
            tally.items += 1;
            findings.extend(differences(&key, stored, recount, duplicates.is_some()));
        }
        findings
    }

    /// Whether a rollup holds nothing beyond what was finished when the verification began.
    fn is_settled(&self, stored: &Rollup) -> bool {
        stored.marks.iter().all(|((epoch, partition), mark)| {
            *epoch == self.epoch && self.committed.get(partition).is_some_and(|committed| mark < committed)
        })
    }

    /// Every user of a finished event must be in the set, and nobody else may have been in it before the events were read.
    async fn compare_users(
        &self,
        subject: &Subject,
        books: &Books,
        window: Window,
        tally: &mut RawTally,
    ) -> Result<Vec<Finding>, VerifyError> {
        let days: BTreeSet<i32> = books.users.keys().chain(books.users_before.keys()).copied().collect();
        let comparable = |day: &i32| !self.may_have_expired(Period::Users(*day));
        if !days.iter().any(comparable) {
            return Ok(Vec::new());
        }
        let after = self.reader.users(subject, window.days()).await?;
        let (none, nobody) = (UserSet::default(), Users::default());
        let mut findings = Vec::new();
        for day in days.into_iter().filter(comparable) {
            let counted = books.users.get(&day).unwrap_or(&nobody);
            let mut problem = |problem: &str| {
                let key = MetricKey { subject: subject.clone(), period: Period::Users(day) };
                findings.push(Finding::Users { item: ItemName::from(&key), problem: problem.to_owned() });
            };
            if !counted.finished.is_within(after.get(&day).unwrap_or(&none)) {
                problem("the set lacks users of its events");
            }
            if !books.users_before.get(&day).unwrap_or(&none).is_within(&counted.all) {
                problem("the set has users of no event");
            }
            tally.user_sets += 1;
        }
        Ok(findings)
    }

    /// Whether some raw events of the period may be deleted by now.
    fn may_have_expired(&self, period: Period) -> bool {
        may_have_expired(period, self.verifier.options.retention)
    }
}

impl Users {
    fn insert(&mut self, hash: u64, is_finished: bool) {
        self.all.insert(hash);
        if is_finished {
            self.finished.insert(hash);
        }
    }
}

impl Shares {
    fn merge(&mut self, other: Self) {
        for (key, sum) in other.counters {
            self.counters.entry(key).or_default().add(&sum);
        }
        for (key, users) in other.users {
            let own = self.users.entry(key).or_default();
            own.all.unite(&users.all);
            own.finished.unite(&users.finished);
        }
    }
}

impl Books {
    /// Takes over what the agents add to the fleet's books of one partition.
    fn take(&mut self, shares: &Shares, partition: u32) {
        let counters = shares.counters.iter().filter(|((p, _), _)| *p == partition);
        self.recounted = counters.map(|((_, period), sum)| (*period, sum.clone())).collect();
        let users = shares.users.iter().filter(|((p, _), _)| *p == partition);
        self.users = users.map(|((_, day), users)| (*day, users.clone())).collect();
    }
}
