//! `delete`: takes an agent's or a user's events out of the raw events and out of every number, while events keep coming.
//!
//! 1. Everything that the log has at this moment is waited for: it is stored and counted then. Only that is deleted; what
//!    is logged later stays.
//! 2. `correct` subtracts the events from each rollup, once (`corrected_by`), and notes what it subtracted.
//! 3. `erase` replaces each event by an empty marker, so that a replay or a client's repeat is not counted again.
//! 4. The aggregators forget what they remember of the items, and `settle` brings up to date what cannot be subtracted:
//!    maxima and users are raised by what came meanwhile. Then the live tables are told.
//!
//! Each step can be done again from its beginning, so an interrupted deletion goes on when it is run again. Nothing else may
//! recount meanwhile ([`service_kit::deletions`]).

mod command;
mod correct;
mod correction;
mod erase;
mod report;
mod settle;

pub use command::DeleteArgs;
pub use report::{DeletionReport, Outcome};

use crate::Barrier;
use crate::begun;
use crate::checkpoint::{Checkpoints, difference};
use crate::partition::Guards;
use crate::stopped;
use crate::store::{MetricsStore, StoreError};
use crate::tables::versions;
use crate::verify::{Progress, Reader, VerifyError};
use aws_sdk_dynamodb::Client;
use event_log::{Before, Log, LogError, Position};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use schemas::codec::WireForm;
use schemas::item::{StoredEvent, Subject, TableNames};
use schemas::time::{DAY_US, day_of, format_day, now_micros};
use serde::{Deserialize, Serialize};
use service_kit::deletions::{self, Deletion, DeletionsError, Stage, Whose};
use service_kit::log::Topics;
use service_kit::metrics_tables::{MetricsTables, MetricsTablesError};
use service_kit::store::patient;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether everything is counted.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Agents whose events are read at once.
const AGENTS_AT_ONCE: usize = 8;
/// Items or events that are written at once.
const WRITES_AT_ONCE: usize = 16;

/// What to delete, and how gently.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DeleteOptions {
    /// Whose events; `None` for those of the deletion that was interrupted.
    pub whose: Option<Whose>,
    /// Delete; else it is only told what would be.
    pub is_confirmed: bool,
    /// How long raw events are kept: of days of which some may be gone, an agent's rollups say what to subtract.
    pub retention: Option<Duration>,
    /// Items read per second at most.
    pub items_per_second: Option<u32>,
    /// Days, today included, whose totals the live tables hold.
    pub live_days: u32,
    /// For tests: where to stop, as if the process had died there.
    #[doc(hidden)]
    #[serde(skip)]
    pub stop_before: Option<Stage>,
}

/// What a deletion works with.
#[derive(Clone)]
pub struct Deleter {
    /// The store.
    pub store: Client,
    /// Its tables, as the services are configured.
    pub tables: TableNames,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The log's topics.
    pub topics: Topics,
    /// How records of the live topic are framed.
    pub wire_form: WireForm,
    /// Awaited before the live tables are told what the store has; only the embedded store needs one.
    pub barrier: Option<Barrier>,
    /// What and how.
    pub options: DeleteOptions,
}

impl std::fmt::Debug for Deleter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deleter").field("tables", &self.tables).field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why a deletion did not come to its end. What it did is kept; the same command goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The control table does not say what is deleted, or somebody else deletes.
    #[error(transparent)]
    Deletions(#[from] DeletionsError),
    /// The control table does not say which tables are in use.
    #[error(transparent)]
    Tables(#[from] MetricsTablesError),
    /// The tables cannot be read.
    #[error(transparent)]
    Read(#[from] VerifyError),
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// The control table cannot be read.
    #[error("{0:#}")]
    Control(anyhow::Error),
    /// The store refuses something.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There are two versions of every rollup.
    #[error("a rebuild of the metrics table is under way; let it finish, or end it with `rebuild --give-up`")]
    RebuildUnderWay,
    /// An aggregator counts a partition no further.
    #[error("partition {partition} of the log is stopped, so it is not counted to its end; the aggregator's readiness says why")]
    PartitionStopped {
        /// The partition.
        partition: u32,
    },
    /// Nobody said how long events are kept.
    #[error(
        "agent {agent}, day {day}: its rollup counts {counted} events, of which {stored} are stored; nothing is deleted. Have the others \
         expired? Then say --event-retention-days, the shortest that there was. If not, `verify` the tables first"
    )]
    MoreCounted {
        /// The agent.
        agent: String,
        /// The day.
        day: String,
        /// What its rollup says.
        counted: i64,
        /// What is stored.
        stored: i64,
    },
    /// There is nothing to go on with.
    #[error("no deletion was interrupted")]
    NothingToResume,
    /// A correction that was noted cannot be read.
    #[error("the control table's correction {id} cannot be read")]
    Unreadable {
        /// Its id.
        id: String,
    },
    /// The store's file cannot be synced.
    #[error("the store's file cannot be synced")]
    Sync(#[source] std::io::Error),
    /// A test ended it here.
    #[error("stopped")]
    Stopped,
}

/// A deletion at work.
struct Work<'a> {
    deleter: &'a Deleter,
    /// Patient.
    store: Client,
    reader: Reader,
    metrics: MetricsStore,
    /// Of the metrics table that is read.
    generation: u32,
    deletion: Deletion,
}

impl Deleter {
    /// Deletes, or tells what would be deleted.
    pub async fn run(&self, progress: &Progress) -> Result<DeletionReport, DeleteError> {
        let store = patient(&self.store);
        let mut unfinished = None;
        for deletion in deletions::read(&store, &self.tables).await?.into_iter().filter(|d| d.stage != Stage::Done) {
            if deletion.is_abandoned() {
                deletion.withdraw(&store, &self.tables).await?;
            } else {
                unfinished = Some(deletion);
            }
        }
        match (unfinished, self.options.whose.clone()) {
            // It may not be the only one yet.
            (Some(deletion), _) if deletion.stage == Stage::Beginning => Err(deletion.under_way().into()),
            (Some(deletion), None) => self.carry_out(store, deletion, progress).await,
            (Some(deletion), Some(whose)) if self.options.is_confirmed && whose == deletion.whose => {
                self.carry_out(store, deletion, progress).await
            }
            (Some(deletion), Some(_)) => Err(deletion.under_way().into()),
            (None, None) => Err(DeleteError::NothingToResume),
            (None, Some(whose)) if !self.options.is_confirmed => self.look(&store, whose, progress).await,
            (None, Some(whose)) => {
                let before = self.await_counted(&store, progress).await?;
                let mut deletion = Deletion::new(whose, before);
                deletion.begin(&store, &self.tables).await?;
                self.carry_out(store, deletion, progress).await
            }
        }
    }

    async fn carry_out(&self, store: Client, deletion: Deletion, progress: &Progress) -> Result<DeletionReport, DeleteError> {
        let mut now = MetricsTables::read(&store, &self.tables).await?;
        let mut work = self.work(&store, &now, deletion).await?;
        if now.other.is_some() {
            work.withdraw_untouched().await?;
            return Err(DeleteError::RebuildUnderWay);
        }
        // A rebuild that looked for deletions before this one was noted finds that its change comes too late, or this one does.
        now = match now.change(&store, &self.tables, (now.served.clone(), None)).await {
            Err(error @ MetricsTablesError::Changed) => {
                work.withdraw_untouched().await?;
                return Err(error.into());
            }
            changed => changed?,
        };
        loop {
            if self.options.stop_before == Some(work.deletion.stage) {
                return Err(DeleteError::Stopped);
            }
            let next = match work.deletion.stage {
                Stage::Beginning => return Err(work.deletion.under_way().into()),
                Stage::Correcting => {
                    if let Err(error) = work.correct(progress).await {
                        if matches!(error, DeleteError::MoreCounted { .. }) {
                            work.withdraw_untouched().await?;
                        }
                        return Err(error);
                    }
                    if work.corrections().await?.is_empty() {
                        work.deletion.withdraw(&store, &self.tables).await?;
                        return Ok(self.report(DeletionReport::new(Outcome::Nothing, work.deletion.whose)));
                    }
                    Stage::Erasing
                }
                Stage::Erasing => {
                    work.erase(progress).await?;
                    Stage::Settling
                }
                Stage::Settling => {
                    now = now.have_forgotten(&store, &self.tables).await?;
                    self.await_forgotten(&store, now.forget, progress).await?;
                    work.settle(progress).await?;
                    Stage::Done
                }
                Stage::Done => {
                    let report = DeletionReport::of(&work.deletion, &work.corrections().await?);
                    return Ok(DeletionReport { old_tables: self.old_tables(&store, &now).await?, ..self.report(report) });
                }
            };
            work.deletion.advance(&store, &self.tables, next).await?;
        }
    }

    async fn work(&self, store: &Client, now: &MetricsTables, deletion: Deletion) -> Result<Work<'_>, DeleteError> {
        let metrics = MetricsStore { store: store.clone(), table: now.served.name.clone(), epoch: 0, guards: Guards::default() };
        let reader = self.reader(now).await?;
        Ok(Work { deleter: self, store: store.clone(), reader, metrics, generation: now.served.generation, deletion })
    }

    async fn reader(&self, now: &MetricsTables) -> Result<Reader, DeleteError> {
        let tables = TableNames { metrics: now.served.name.clone(), ..self.tables.clone() };
        Ok(Reader::open(&self.store, tables, self.options.items_per_second).await?)
    }

    /// With the last day of which a user's events may have expired, so that nobody can tell what they added to its rollups.
    fn report(&self, report: DeletionReport) -> DeletionReport {
        let retention = self.options.retention.and_then(|retention| i64::try_from(retention.as_micros()).ok());
        let until = retention.filter(|_| matches!(report.whose, Whose::User(_))).map(|us| format_day(day_of(now_micros() - us)));
        DeletionReport { expired_until: until, ..report }
    }

    /// Versions of the metrics table that a rebuild left, which count the events as ever.
    async fn old_tables(&self, store: &Client, now: &MetricsTables) -> Result<Vec<String>, DeleteError> {
        let versions = versions(store, &self.tables).await.map_err(DeleteError::Control)?;
        Ok(versions.into_iter().filter(|version| *version != now.served).map(|version| version.name).collect())
    }

    /// Counts what would be deleted.
    async fn look(&self, store: &Client, whose: Whose, progress: &Progress) -> Result<DeletionReport, DeleteError> {
        let reader = self.reader(&MetricsTables::read(store, &self.tables).await?).await?;
        let mut report = DeletionReport::new(Outcome::Looked, whose.clone());
        let agents: BTreeSet<String> = match &whose {
            Whose::Agent(agent) => BTreeSet::from([agent.clone()]),
            Whose::User(_) => reader.agents().await?,
        };
        let total = agents.len();
        let looks = agents.into_iter().map(|agent| {
            let (reader, whose) = (&reader, &whose);
            async move {
                let (mut events, mut days) = (0u64, BTreeSet::new());
                if let Some((first, last)) = reader.span(&agent).await? {
                    let (from, until) = (i64::from(first) * DAY_US, (i64::from(last) + 1) * DAY_US);
                    let found = |stored: Result<StoredEvent, _>| {
                        if let Ok(stored) = stored
                            && whose.holds(&stored.event)
                        {
                            events += 1;
                            days.insert(day_of(stored.event.timestamp));
                        }
                    };
                    reader.events(&agent, from, until, found).await?;
                    if matches!(whose, Whose::Agent(_)) {
                        // Those that have expired too.
                        let rollups = reader.rollups(&Subject::Agent(agent.as_str().into()), (first, last), false).await?;
                        events = events.max(rollups.values().map(|rollup| u64::try_from(rollup.calls).unwrap_or(0)).sum());
                        days.extend(rollups.iter().filter(|(_, rollup)| rollup.calls > 0).map(|(period, _)| period.day()));
                    }
                }
                Ok::<_, DeleteError>((agent, events, days))
            }
        });
        let mut looks = stream::iter(looks).buffered(AGENTS_AT_ONCE).boxed();
        let mut done = 0;
        while let Some((agent, events, days)) = looks.try_next().await? {
            report.add(&agent, events, days.into_iter().map(format_day));
            done += 1;
            progress.now_and_then(|| format!("{done} of {total} agents looked at"));
        }
        drop(looks);
        Ok(self.report(report))
    }

    /// Waits until everything that the log has at this moment is counted; answers what that is. The store's own word is waited for,
    /// its checkpoint: a commit may be of a store that an older copy has taken the place of.
    async fn await_counted(&self, store: &Client, progress: &Progress) -> Result<Before, DeleteError> {
        let topic = &self.topics.events;
        let mut ends = Vec::new();
        for partition in 0..self.log.partitions(topic).await? {
            ends.push(self.log.bounds(topic, partition).await?);
        }
        let checkpoints = Checkpoints { store: store.clone(), tables: self.tables.clone(), topic: topic.clone() };
        loop {
            let mut counted: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
            let (mut epoch, mut uncounted, mut waiting) = (0, 0, BTreeSet::new());
            for (partition, bounds) in (0..).zip(&ends) {
                let is_empty = bounds.end == bounds.start;
                let checkpoint = checkpoints.read(partition).await.map_err(VerifyError::Checkpoint)?;
                let next = checkpoint.as_ref().map_or(bounds.start, |checkpoint| checkpoint.offset + 1);
                let left = bounds.end.saturating_sub(next);
                match checkpoint {
                    None if is_empty => continue,
                    Some(checkpoint) if left == 0 => match difference(&self.log, topic, partition, &checkpoint).await? {
                        None => {
                            epoch = epoch.max(checkpoint.epoch);
                            counted.insert(partition, (checkpoint.epoch, bounds.end));
                            continue;
                        }
                        // What was counted was another log's: an import, or a topic made anew. This one's first record will be of
                        // a later epoch.
                        Some(_) if is_empty => {
                            epoch = epoch.max(checkpoint.epoch + 1);
                            counted.insert(partition, (checkpoint.epoch + 1, 0));
                            continue;
                        }
                        Some(_) => {}
                    },
                    _ => {}
                }
                uncounted += left.max(1);
                waiting.insert(partition);
            }
            if waiting.is_empty() {
                let positions = counted.into_iter().map(|(partition, (epoch, offset))| Position { epoch, partition, offset });
                return Ok(Before::new(positions, epoch));
            }
            // A partition that an aggregator has stopped would be waited for in vain.
            if let Some(partition) = stopped::any(store, &self.tables, (topic, &waiting)).await.map_err(DeleteError::Control)? {
                return Err(DeleteError::PartitionStopped { partition });
            }
            progress.now_and_then(|| format!("waiting for the aggregators to count {uncounted} records; is one running?"));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every partition has begun anew.
    async fn await_forgotten(&self, store: &Client, forget: u32, progress: &Progress) -> Result<(), DeleteError> {
        loop {
            let partitions = self.log.partitions(&self.topics.events).await?;
            let begun = begun::read(store, &self.tables, &self.topics.events).await.map_err(DeleteError::Control)?;
            let done = (0..partitions).filter(|partition| begun.get(partition).is_some_and(|forgotten| *forgotten >= forget)).count();
            if done == partitions as usize {
                return Ok(());
            }
            progress.now_and_then(|| {
                format!("waiting for the aggregators to read the corrected numbers: {done} of {partitions} partitions; are all running?")
            });
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Work<'_> {
    /// The agents that may have events to delete.
    async fn agents_concerned(&self) -> Result<BTreeSet<String>, DeleteError> {
        Ok(match &self.deletion.whose {
            Whose::Agent(agent) => BTreeSet::from([agent.clone()]),
            Whose::User(_) => self.reader.agents().await?,
        })
    }

    /// Forgets the deletion, where nothing was done for it yet.
    async fn withdraw_untouched(&self) -> Result<(), DeleteError> {
        if self.deletion.stage == Stage::Correcting && self.corrections().await?.is_empty() {
            self.deletion.withdraw(&self.store, &self.deleter.tables).await?;
        }
        Ok(())
    }

    /// Whoever works at the same deletion may be further: what is written now must still be wanted. Asked between reading an
    /// item and writing it under the version that was read.
    async fn check_stage(&self) -> Result<(), DeleteError> {
        match self.deletion.current_stage(&self.store, &self.deleter.tables).await? {
            Some(stage) if stage == self.deletion.stage => Ok(()),
            _ => Err(DeletionsError::Changed.into()),
        }
    }

    /// Whether some raw events of the period may be deleted by retention.
    fn may_have_expired(&self, period: schemas::item::Period) -> bool {
        crate::verify::may_have_expired(period, self.deleter.options.retention)
    }

    async fn sync(&self) -> Result<(), DeleteError> {
        let Some(barrier) = &self.deleter.barrier else { return Ok(()) };
        barrier().await.map_err(DeleteError::Sync)
    }

    fn first_live_day(&self) -> i32 {
        day_of(now_micros()) - i32::try_from(self.deleter.options.live_days.max(1)).unwrap_or(i32::MAX) + 1
    }
}
