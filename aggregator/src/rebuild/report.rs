//! What a rebuild did, for people and for programs.

use crate::verify::{Finding, MOST_FINDINGS, Report};
use serde::{Deserialize, Serialize};
use service_kit::metrics_tables::TableVersion;
use std::fmt;

/// What was written into the new table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FillTally {
    /// Raw events that were counted; those that came since then came by the log.
    pub events: u64,
    /// Items written, one write each.
    pub items: u64,
    /// Items among them that were taken over, since their raw events may have expired.
    pub taken_over: u64,
    /// Items that an earlier run had filled.
    pub filled_before: u64,
    /// Items among them that count fewer events than they did: were raw events deleted, or have they expired?
    pub lowered: u64,
    /// Stored events that were given another cost.
    pub repriced: u64,
    /// Sets of users written.
    pub user_sets: u64,
    /// Agents in the directory.
    pub agents: u64,
    /// Counters in which the old table differs from the new one, the first of them.
    pub changes: Vec<Finding>,
    /// How many there are in all.
    pub changes_total: u64,
}

impl FillTally {
    pub(super) fn change(&mut self, change: Finding) {
        self.changes_total += 1;
        if self.changes.len() < MOST_FINDINGS {
            self.changes.push(change);
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.events += other.events;
        self.items += other.items;
        self.taken_over += other.taken_over;
        self.lowered += other.lowered;
        self.filled_before += other.filled_before;
        self.user_sets += other.user_sets;
        let room = MOST_FINDINGS.saturating_sub(self.changes.len());
        self.changes_total += other.changes_total;
        self.changes.extend(other.changes.into_iter().take(room));
    }
}

/// The outcome of a rebuild.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RebuildReport {
    /// The table that was read until now.
    pub old: String,
    /// The table that was filled.
    pub new: String,
    /// What was written.
    pub filled: FillTally,
    /// What counting the new table again came to.
    pub verified: Report,
    /// Whether the new table is the one that is read now.
    pub is_switched: bool,
    /// Whether the old table was deleted.
    pub is_old_dropped: bool,
    /// Whether the rebuild was given up and the new table deleted.
    pub is_given_up: bool,
    /// Whether this only ended a change-over that had been interrupted.
    pub is_ended: bool,
}

impl RebuildReport {
    /// Whether it was done, or what was asked for was proved.
    pub fn is_good(&self) -> bool {
        self.is_switched || self.is_given_up || self.is_proved()
    }

    /// Whether the new table may be changed over to without a further word.
    pub(super) fn is_proved(&self) -> bool {
        self.verified.agrees && self.filled.lowered == 0
    }

    pub(super) fn new(old: &TableVersion, new: &TableVersion, filled: FillTally, verified: Report) -> Self {
        Self {
            old: old.name.clone(),
            new: new.name.clone(),
            filled,
            verified,
            is_switched: false,
            is_old_dropped: false,
            is_given_up: false,
            is_ended: false,
        }
    }
}

/// Changes that are shown to people; programs get them all.
const SHOWN: usize = 20;

impl fmt::Display for RebuildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_given_up {
            return write!(f, "given up; {} is deleted, {} is in use as before", self.new, self.old);
        }
        if self.is_ended {
            let old = if self.is_old_dropped { "deleted" } else { "kept" };
            return write!(f, "ended a change-over that had been interrupted: {} is in use, {} is {old}", self.new, self.old);
        }
        let FillTally { events, items, taken_over, lowered, filled_before, repriced, user_sets, agents, changes, changes_total } =
            &self.filled;
        writeln!(f, "filled {}: {events} events into {items} items, {user_sets} sets of users, {agents} agents", self.new)?;
        if *taken_over > 0 {
            writeln!(f, "  {taken_over} items were taken over from {}: raw events of theirs may have expired", self.old)?;
        }
        if *lowered > 0 {
            writeln!(
                f,
                "  {lowered} items would count fewer events: were raw events deleted, or have they expired? Then end it with --give-up and \
                 say --event-retention-days; --accept-findings changes over as it is"
            )?;
        }
        if *repriced > 0 {
            writeln!(f, "  {repriced} events have another cost now")?;
        }
        if *filled_before > 0 {
            writeln!(f, "  {filled_before} items had been filled by an earlier run")?;
        }
        if *changes_total == 0 {
            writeln!(f, "  no number changes")?;
        } else {
            writeln!(f, "  {changes_total} counters change:")?;
            for change in changes.iter().take(SHOWN) {
                if let Finding::Counter { item, counter, stored, recounted } = change {
                    writeln!(f, "    {}: {counter} was {stored}, becomes {recounted}", item.name)?;
                }
            }
            if *changes_total > SHOWN as u64 {
                writeln!(f, "    … and {} more (--json names {})", changes_total - SHOWN as u64, changes.len())?;
            }
        }
        writeln!(f, "{}", self.verified)?;
        match (self.is_switched, self.is_old_dropped) {
            (true, true) => write!(f, "{} is in use now; {} is deleted", self.new, self.old),
            (true, false) => write!(f, "{} is in use now; {} is kept as it was a moment ago and can be deleted", self.new, self.old),
            (false, _) => write!(f, "{} is still in use; run it again to change over, or with --give-up to delete {}", self.old, self.new),
        }
    }
}
