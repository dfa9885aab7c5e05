//! `verify`: counts everything again and compares. It reads, and writes nothing to the tables or the log.
//!
//! Two recounts that do not trust each other: `log_pass` finds for each record of the log the event that it became,
//! and `raw_pass` adds up the stored events with [`crate::fold`] and compares every counter of every rollup. Both are
//! exact while new events keep coming, since each rollup says by its marks up to where it counts.

mod command;
mod compare;
mod finding;
mod log_pass;
mod progress;
mod raw_pass;
mod read;
mod report;
mod resume;
mod window;

pub use command::{VerifyArgs, progress_to_stderr};
pub use finding::{EventName, Finding, ItemName};
pub use progress::Progress;
pub use report::{MOST_FINDINGS, PartitionTally, RawTally, Report};

pub(crate) use compare::differences;
pub(crate) use progress::Stage;
pub(crate) use read::Reader;
pub(crate) use window::{Window, may_have_expired};

use crate::GROUP;
use crate::checkpoint::{Checkpoint, difference};
use crate::decode::Decoder;
use aws_sdk_dynamodb::Client;
use event_log::{Log, LogError};
use log_pass::{Extent, Extents, LogItems, LogPass};
use raw_pass::RawPass;
use resume::Resume;
use schemas::item::{MetricKey, Period, Subject, TableNames};
use schemas::rollup::Rollup;
use schemas::time::{day_of, format_day, now_micros};
use serde::{Deserialize, Serialize};
use service_kit::deletions::{self, DeletionsError};
use service_kit::log::Topics;
use service_kit::metrics_tables::{self, MetricsTablesError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How often the directory is read again for an agent whose events came before its listing.
const LOOKS_FOR_AGENTS: u32 = 3;
/// Days of append of which the log's own items are read.
const MOST_LOG_DAYS: i32 = 400;

/// What to verify, and how gently.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VerifyOptions {
    /// First and last day (numbers since 1970, both included); `None` for all there are.
    pub days: (Option<i32>, Option<i32>),
    /// How long raw events are kept; what may have expired is not compared.
    pub retention: Option<Duration>,
    /// Items read per second at most.
    pub items_per_second: Option<u32>,
    /// Compare with the raw events only.
    pub skip_log: bool,
    /// Look at the keys of all events for agents that the directory does not list.
    pub scan_events: bool,
    /// The version of the metrics table; the one that is read where absent.
    #[serde(default)]
    pub metrics_table: Option<String>,
    /// Where to note what is done, so that an interrupted verification goes on from there.
    pub resume: Option<PathBuf>,
}

/// What a verification works with.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// The store.
    pub store: Client,
    /// Its tables.
    pub tables: TableNames,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The log's topics.
    pub topics: Topics,
    /// Reads the log's records.
    pub decoder: Decoder,
    /// What and how.
    pub options: VerifyOptions,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The store did not answer after many tries.
    #[error("the store did not answer {operation}: {code}")]
    Store {
        /// The operation.
        operation: &'static str,
        /// The store's error code.
        code: String,
    },
    /// It is not known which table is read.
    #[error(transparent)]
    Tables(#[from] MetricsTablesError),
    /// Events are being deleted, or were while this verified.
    #[error(transparent)]
    Deletions(#[from] DeletionsError),
    /// The plans by which events are spread over keys cannot be read.
    #[error("the shard plans cannot be read")]
    Shards(#[source] anyhow::Error),
    /// What was read before and after a deletion cannot be compared.
    #[error("events were deleted meanwhile; run it again")]
    DeletedMeanwhile,
    /// A checkpoint cannot be read.
    #[error("the checkpoints cannot be read")]
    Checkpoint(#[source] anyhow::Error),
    /// The log is not the one that was counted.
    #[error("partition {partition} of the log is not what was counted ({why}); --skip-log compares with the raw events alone")]
    AnotherLog {
        /// The partition.
        partition: u32,
        /// What differs.
        why: String,
    },
    /// The log cannot be read.
    #[error("the log cannot be read")]
    Log(#[from] LogError),
    /// The file to go on from cannot be used.
    #[error("{path}: {problem}", path = path.display())]
    Resume {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Verifier {
    /// Counts again and compares.
    pub async fn run(&self, progress: &Progress) -> Result<Report, VerifyError> {
        let deletions = deletions::read_done(&self.store, &self.tables).await?;
        let report = self.compare(deletions.len(), progress).await?;
        if deletions::read(&self.store, &self.tables).await? != deletions {
            return Err(VerifyError::DeletedMeanwhile);
        }
        Ok(report)
    }

    async fn compare(&self, deletions: usize, progress: &Progress) -> Result<Report, VerifyError> {
        let tables = match &self.options.metrics_table {
            Some(table) => TableNames { metrics: table.clone(), ..self.tables.clone() },
            None => metrics_tables::served(&self.store, &self.tables).await?,
        };
        let mut resume = Resume::open(&self.options, (&self.log.id().await?, &tables.metrics, deletions))?;
        let reader = Reader::open(&self.store, tables, self.options.items_per_second).await?;
        let mut findings = Findings::default();
        let checkpoints = self.checkpoints(&reader).await?;
        let epoch = checkpoints.values().map(|checkpoint| checkpoint.epoch).max().unwrap_or(0);
        let committed = self.committed(&checkpoints, epoch).await?;
        let marks = self.log_items(&reader, committed.keys()).await?;
        let pass = if self.options.skip_log {
            LogPass::default()
        } else {
            let extents = self.extents(epoch, &checkpoints, &committed, &marks).await?;
            log_pass::run(self, &reader, (epoch, &extents, &marks), &mut findings, progress).await?
        };
        compare_outcomes(&pass, &marks, epoch, &mut findings);
        let agents = self.agents(&reader, &pass, &mut findings).await?;
        let Some((first, last)) = self.days(&reader, &agents).await? else {
            return Ok(findings.report(Report { log: pass.partitions, ..Report::empty() }));
        };
        let partitions = (0..self.log.partitions(&self.topics.events).await?).collect();
        let raw_pass = RawPass {
            verifier: self,
            reader: &reader,
            epoch,
            log_pass: &pass,
            committed: &committed,
            partitions,
            ends: Default::default(),
        };
        let (mut tally, mut resumed_windows) = (RawTally::default(), 0);
        for window in Window::over(first, last) {
            if let Some((done, found)) = resume.done(window) {
                tally.add(&done);
                findings.extend(found);
                resumed_windows += 1;
                continue;
            }
            let mut found = Findings::default();
            let done = raw_pass.run(window, &agents, &mut found, progress).await?;
            tally.add(&done);
            resume.note(window, &done, &found)?;
            findings.extend(found);
        }
        resume.finish();
        if self.options.days == (None, None) && self.options.retention.is_none() {
            compare_counts(&pass, &tally, &mut findings);
        }
        Ok(findings.report(Report {
            from: Some(format_day(first)),
            to: Some(format_day(last)),
            agents: agents.len() as u64,
            raw: tally,
            log_is_whole: pass.duplicates.is_some(),
            log: pass.partitions,
            resumed_windows,
            items_read: reader.items(),
            ..Report::empty()
        }))
    }

    async fn checkpoints(&self, reader: &Reader) -> Result<BTreeMap<u32, Checkpoint>, VerifyError> {
        let mut checkpoints = BTreeMap::new();
        for partition in reader.checkpointed_partitions(&self.topics.events).await? {
            if let Some(checkpoint) = reader.checkpoint(&self.topics.events, partition).await? {
                checkpoints.insert(partition, checkpoint);
            }
        }
        Ok(checkpoints)
    }

    /// The next offset of each partition of this epoch: everything before is finished. The store's own word and the
    /// group's commit are both true; the later one says more.
    async fn committed(&self, checkpoints: &BTreeMap<u32, Checkpoint>, epoch: u32) -> Result<BTreeMap<u32, u64>, VerifyError> {
        let group = if self.options.skip_log { Vec::new() } else { self.log.committed(GROUP, &self.topics.events).await? };
        let of_epoch = checkpoints.iter().filter(|(_, checkpoint)| checkpoint.epoch == epoch);
        Ok(of_epoch
            .map(|(partition, checkpoint)| {
                let by_group = group.get(*partition as usize).copied().flatten().unwrap_or(0);
                (*partition, by_group.max(checkpoint.offset + 1))
            })
            .collect())
    }

    /// The log's own items: what became of the records of each day of append, by partition.
    async fn log_items(&self, reader: &Reader, partitions: impl Iterator<Item = &u32>) -> Result<LogItems, VerifyError> {
        let today = day_of(now_micros());
        let mut items = BTreeMap::new();
        for partition in partitions {
            let of_partition = reader.rollups(&Subject::Log(*partition), (today - MOST_LOG_DAYS, today + 1), false).await?;
            items.extend(of_partition.into_iter().filter_map(|(period, item)| match period {
                Period::Day(day) => Some(((*partition, day), item)),
                _ => None,
            }));
        }
        Ok(items)
    }

    async fn extents(
        &self,
        epoch: u32,
        checkpoints: &BTreeMap<u32, Checkpoint>,
        committed: &BTreeMap<u32, u64>,
        items: &LogItems,
    ) -> Result<Extents, VerifyError> {
        let mut extents = BTreeMap::new();
        for (partition, committed) in committed {
            if let Some(checkpoint) = checkpoints.get(partition)
                && let Some(why) = difference(&self.log, &self.topics.events, *partition, checkpoint).await?
            {
                return Err(VerifyError::AnotherLog { partition: *partition, why });
            }
            let bounds = self.log.bounds(&self.topics.events, *partition).await?;
            let marks = items.iter().filter(|((p, _), _)| p == partition).filter_map(|(_, item)| item.marks.get(&(epoch, *partition)));
            let until = marks.map(|mark| mark + 1).max().unwrap_or(0).max(*committed).min(bounds.end);
            extents.insert(*partition, Extent { start: bounds.start.min(until), committed: *committed, until });
        }
        Ok(extents)
    }

    /// Every agent that may have events; those that the directory should list and does not are findings.
    async fn agents(&self, reader: &Reader, pass: &LogPass, findings: &mut Findings) -> Result<BTreeSet<String>, VerifyError> {
        let mut agents = reader.agents().await?;
        let mut others: BTreeSet<String> = pass.agents.difference(&agents).cloned().collect();
        if self.options.scan_events {
            others.extend(reader.agents_with_events().await?.difference(&agents).cloned());
        }
        // An agent is listed before its first event is committed, which may be in a moment.
        for _ in 0..LOOKS_FOR_AGENTS {
            agents.extend(if others.is_subset(&agents) { BTreeSet::new() } else { reader.agents().await? });
            if others.is_subset(&agents) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        for agent_id in others.difference(&agents.clone()).cloned() {
            findings.add(Finding::AgentNotListed { agent_id: agent_id.clone() });
            agents.insert(agent_id);
        }
        agents.extend(pass.missing.keys().cloned());
        Ok(agents)
    }

    /// The days to recount: all that have an event or a rollup, within what was asked for.
    async fn days(&self, reader: &Reader, agents: &BTreeSet<String>) -> Result<Option<(i32, i32)>, VerifyError> {
        let (asked_first, asked_last) = self.options.days;
        if let (Some(first), Some(last)) = (asked_first, asked_last) {
            return Ok((first <= last && !agents.is_empty()).then_some((first, last)));
        }
        let known = reader.days(agents).await?;
        let first = asked_first.or(known.map(|(first, _)| first));
        let last = asked_last.or(known.map(|(_, last)| last));
        Ok(first.zip(last).filter(|(first, last)| first <= last))
    }
}

/// The log's own items against what the pass over the log found, for the days that can be compared.
fn compare_outcomes(pass: &LogPass, items: &LogItems, epoch: u32, findings: &mut Findings) {
    let none = Rollup::default();
    let begun: BTreeMap<u32, i32> = pass.partitions.keys().filter_map(|p| Some((*p, items_begin(*p, items, epoch)?))).collect();
    // Days without a record that is left: only a log that never lost any can tell.
    let is_whole = |partition: &u32| pass.partitions.get(partition).is_some_and(|log| log.start == 0);
    let empty = items.keys().filter(|key| is_whole(&key.0) && !pass.outcomes.contains_key(*key)).map(|key| (key, &none));
    for (key @ (partition, day), found) in pass.comparable().chain(empty) {
        // What an earlier epoch logged is in the same item, and the log has it no more.
        let is_mixed = items.get(key).is_some_and(|item| item.marks.keys().any(|(e, _)| *e != epoch));
        if is_mixed || begun.get(partition).is_some_and(|begun| day <= begun) {
            continue;
        }
        let item = MetricKey { subject: Subject::Log(*partition), period: Period::Day(*day) };
        let stored = items.get(key).unwrap_or(&none);
        compare::differences(&item, stored, found.clone(), true).into_iter().for_each(|finding| findings.add(finding));
    }
}

/// Whether there are as many stored events as records that became one: an event that was added with fitting numbers shows here.
fn compare_counts(pass: &LogPass, tally: &RawTally, findings: &mut Findings) {
    for (partition, log) in &pass.partitions {
        let stored = tally.judged.get(partition).copied().unwrap_or(0);
        let logged = log.inserted - log.deleted - pass.missing_in(*partition);
        if log.untold + log.expired == 0 && stored != logged {
            findings.add(Finding::EventCount { partition: *partition, stored, logged });
        }
    }
}

/// The day on which a partition's items began, where that was not with its first record: a store that was counted before
/// there were such items has none for the records until then.
fn items_begin(partition: u32, items: &LogItems, epoch: u32) -> Option<i32> {
    let own = || items.iter().filter(move |((p, _), _)| *p == partition);
    let counted: i64 = own().map(|(_, item)| item.logged).sum();
    let last = own().filter_map(|(_, item)| item.marks.get(&(epoch, partition))).max()?;
    let has_all = u64::try_from(counted).is_ok_and(|counted| counted > *last);
    if has_all { None } else { own().map(|((_, day), _)| *day).min() }
}

/// Findings, the first ones kept.
#[derive(Debug, Default)]
struct Findings {
    kept: Vec<Finding>,
    total: u64,
}

impl Findings {
    fn add(&mut self, finding: Finding) {
        self.total += 1;
        if self.kept.len() < MOST_FINDINGS {
            self.kept.push(finding);
        }
    }

    fn add_unnamed(&mut self, findings: u64) {
        self.total += findings;
    }

    fn extend(&mut self, others: Self) {
        let room = MOST_FINDINGS.saturating_sub(self.kept.len());
        self.total += others.total;
        self.kept.extend(others.kept.into_iter().take(room));
    }

    fn report(self, report: Report) -> Report {
        Report { agrees: self.total == 0, findings: self.kept, findings_total: self.total, ..report }
    }
}
