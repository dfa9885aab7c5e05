//! What a verification found, for people and for programs.

use super::finding::Finding;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The outcome of a verification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Whether everything that could be compared agrees.
    pub agrees: bool,
    /// First day recounted; absent where there is nothing at all.
    pub from: Option<String>,
    /// Last day recounted.
    pub to: Option<String>,
    /// Agents whose events were recounted.
    pub agents: u64,
    /// The recount from the raw events.
    pub raw: RawTally,
    /// The recount from the log, by partition; empty where the log was not read.
    pub log: BTreeMap<u32, PartitionTally>,
    /// Whether the log still has every record, so that repeats could be compared too.
    pub log_is_whole: bool,
    /// Spans of days that an earlier run had done.
    pub resumed_windows: u64,
    /// Items that the store was asked for.
    pub items_read: u64,
    /// What does not agree; the first [`MOST_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How many there are in all.
    pub findings_total: u64,
}

/// Findings that are named.
pub const MOST_FINDINGS: usize = 1_000;

/// What the raw events came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawTally {
    /// Raw events read.
    pub events: u64,
    /// Events among them that some rollup does not hold yet, since they are still on their way.
    pub pending: u64,
    /// Rollups (agents' and fleet's days and hours) that were compared, counter by counter.
    pub items: u64,
    /// Sets of users that were compared.
    pub user_sets: u64,
    /// Events among them whose records the pass over the log has judged, by partition.
    pub judged: BTreeMap<u32, u64>,
    /// Rollups that cannot be compared any more: raw events of theirs have expired.
    pub expired_items: u64,
}

impl RawTally {
    pub(super) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.pending += other.pending;
        self.items += other.items;
        self.user_sets += other.user_sets;
        self.expired_items += other.expired_items;
        for (partition, events) in &other.judged {
            *self.judged.entry(*partition).or_default() += events;
        }
    }
}

/// What the records of one partition of the log came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionTally {
    /// The oldest record there was.
    pub start: u64,
    /// One beyond the last that was looked at.
    pub until: u64,
    /// Records looked at.
    pub records: u64,
    /// Stored from this very record.
    pub inserted: u64,
    /// Of these, events that were deleted since.
    #[serde(default)]
    pub deleted: u64,
    /// Repeats of a stored event.
    pub duplicates: u64,
    /// Dead letters.
    pub dead_letters: u64,
    /// Records whose event may have expired in the table.
    pub expired: u64,
    /// Records that are no event and whose dead letter may have left its topic.
    pub untold: u64,
}

impl Report {
    /// Of nothing at all, which agrees.
    pub(crate) fn empty() -> Self {
        Self {
            agrees: true,
            from: None,
            to: None,
            agents: 0,
            raw: RawTally::default(),
            log: BTreeMap::new(),
            log_is_whole: false,
            resumed_windows: 0,
            items_read: 0,
            findings: Vec::new(),
            findings_total: 0,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => writeln!(f, "days      {from} to {to}, {} agents", self.agents)?,
            _ if self.log.is_empty() && self.agrees => return f.write_str("nothing is counted yet, so there is nothing to compare"),
            _ => writeln!(f, "days      none of these has an event or a number")?,
        }
        if self.resumed_windows > 0 {
            writeln!(f, "          {} spans of days as an earlier run noted them", self.resumed_windows)?;
        }
        let raw = &self.raw;
        write!(f, "events    {} raw events recounted: {} rollups and {} sets of users compared", raw.events, raw.items, raw.user_sets)?;
        if raw.pending > 0 {
            write!(f, "; {} events are still on their way", raw.pending)?;
        }
        if raw.expired_items > 0 {
            write!(f, "; {} rollups not compared, since events of theirs have expired", raw.expired_items)?;
        }
        writeln!(f)?;
        for (partition, log) in &self.log {
            write!(
                f,
                "log {partition:<5} {} records = {} inserted + {} duplicates + {} dead letters",
                log.records, log.inserted, log.duplicates, log.dead_letters
            )?;
            if log.deleted > 0 {
                write!(f, "; {} of the inserted were deleted since", log.deleted)?;
            }
            if log.expired > 0 {
                write!(f, " + {} expired", log.expired)?;
            }
            if log.untold > 0 {
                write!(f, " + {} of which dead letters are no longer told", log.untold)?;
            }
            writeln!(f)?;
        }
        if self.log.is_empty() {
            writeln!(f, "log       not read")?;
        } else if !self.log_is_whole {
            writeln!(f, "          the log begins after its first record, so the number of repeats was not compared")?;
        }
        for finding in &self.findings {
            writeln!(f, "DIFFERS   {finding}")?;
        }
        if self.findings_total > self.findings.len() as u64 {
            writeln!(f, "          and {} more", self.findings_total - self.findings.len() as u64)?;
        }
        if self.agrees {
            write!(f, "agrees    every number is what its events add up to")
        } else {
            write!(f, "differs   {} differences", self.findings_total)
        }
    }
}
