//! What a deletion did, or would do, for people and for programs.

use super::correction::Correction;
use schemas::item::Subject;
use schemas::time::format_day;
use serde::{Deserialize, Serialize};
use service_kit::deletions::{Deletion, Whose};
use std::collections::BTreeSet;
use std::fmt;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing is deleted: this is what would be.
    Looked,
    /// There was nothing to delete.
    Nothing,
    /// They are deleted.
    Deleted,
}

/// The outcome of a deletion, or of a look at what it would delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletionReport {
    /// What became of it.
    pub outcome: Outcome,
    /// Whose events.
    pub whose: Whose,
    /// The deletion's id in the control table; absent where there is none.
    pub id: Option<String>,
    /// Events that were subtracted from the rollups; for a look, events that are stored.
    pub events: u64,
    /// Agents that had such events.
    pub agents: Vec<String>,
    /// First day of such an event.
    pub from: Option<String>,
    /// Last day of such an event.
    pub to: Option<String>,
    /// The last day of which a user's events may have expired: nobody can tell any more whether its rollups count some.
    pub expired_until: Option<String>,
    /// Days of which the longest response time, the newest event's time and the users are as before: other events of theirs have
    /// expired, so nobody knows what they would be.
    pub partial_days: u64,
    /// Versions of the metrics table that are not read any more, and count the events as ever.
    pub old_tables: Vec<String>,
}

/// Agents that are named to people; programs get them all.
const NAMED: usize = 10;

impl DeletionReport {
    pub(super) fn new(outcome: Outcome, whose: Whose) -> Self {
        Self {
            outcome,
            whose,
            id: None,
            events: 0,
            agents: Vec::new(),
            from: None,
            to: None,
            expired_until: None,
            partial_days: 0,
            old_tables: Vec::new(),
        }
    }

    /// What a look found of an agent.
    pub(super) fn add(&mut self, agent: &str, events: u64, days: impl Iterator<Item = String>) {
        if events > 0 {
            self.events += events;
            self.agents.push(agent.to_owned());
        }
        for day in days {
            self.from = Some(self.from.take().map_or_else(|| day.clone(), |from| from.min(day.clone())));
            self.to = Some(self.to.take().map_or_else(|| day.clone(), |to| to.max(day.clone())));
        }
    }

    pub(super) fn of(deletion: &Deletion, corrections: &[Correction]) -> Self {
        let agents: BTreeSet<String> = corrections
            .iter()
            .filter_map(|c| if let Subject::Agent(agent) = &c.subject { Some(agent.to_string()) } else { None })
            .collect();
        let days = || corrections.iter().map(|c| c.day);
        Self {
            id: Some(deletion.id.clone()),
            events: deletion.events,
            agents: agents.into_iter().collect(),
            from: days().min().map(format_day),
            to: days().max().map(format_day),
            partial_days: corrections.iter().filter(|c| c.is_partial).map(|c| c.day).collect::<BTreeSet<i32>>().len() as u64,
            ..Self::new(Outcome::Deleted, deletion.whose.clone())
        }
    }

    /// Which agents had such events, where that is not said already.
    fn of_agents(&self) -> String {
        let count = self.agents.len();
        if matches!(self.whose, Whose::Agent(_)) {
            return String::new();
        }
        let named = self.agents.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        match count {
            1 => format!(", of agent {named}"),
            _ if count > NAMED => format!(", of {count} agents: {named} and {} more", count - NAMED),
            _ => format!(", of {count} agents: {named}"),
        }
    }
}

impl fmt::Display for DeletionReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { outcome, whose, events, expired_until, old_tables, .. } = self;
        let (from, to) = (self.from.as_deref().unwrap_or_default(), self.to.as_deref().unwrap_or_default());
        let count = if *events == 1 { "1 event".to_owned() } else { format!("{events} events") };
        match outcome {
            _ if *events == 0 && *outcome != Outcome::Deleted => write!(f, "there is no event of {whose}")?,
            Outcome::Looked | Outcome::Nothing => {
                write!(f, "would delete {count} of {whose}, days {from} to {to}{}", self.of_agents())?;
            }
            Outcome::Deleted => write!(f, "deleted {count} of {whose}, days {from} to {to}{}", self.of_agents())?,
        }
        if let Some(day) = expired_until {
            write!(f, "\n  until {day} events have expired; whether the rollups of those days count some of these nobody can tell")?;
        }
        match outcome {
            Outcome::Looked if *events > 0 => write!(f, "\nnothing is deleted yet; --yes deletes them for good"),
            Outcome::Deleted => {
                if self.partial_days > 0 {
                    write!(
                        f,
                        "\n  of {} days the maxima and the users stay: other events of theirs have expired, so nobody knows them",
                        self.partial_days
                    )?;
                }
                if !old_tables.is_empty() {
                    write!(f, "\n  {} still counts them and is read no more: delete the table", old_tables.join(", "))?;
                }
                write!(
                    f,
                    "\n  every number is without them; `verify` shows it\n  what stays: a marker for each (agent, time, id, position), and \
                     its record in the log, in dead letters, exports and backups until these go"
                )
            }
            Outcome::Looked | Outcome::Nothing => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_would_be_and_what_was() {
        let nothing = DeletionReport::new(Outcome::Nothing, Whose::Agent("bot".into()));
        assert_eq!(nothing.to_string(), "there is no event of agent bot");
        let mut look = DeletionReport { outcome: Outcome::Looked, ..nothing };
        look.add("bot", 1, ["2026-11-27".to_owned()].into_iter());
        let text = "would delete 1 event of agent bot, days 2026-11-27 to 2026-11-27\n\
                    nothing is deleted yet; --yes deletes them for good";
        assert_eq!(look.to_string(), text);
        for n in 0..12 {
            look.add(&format!("other-{n}"), 2, std::iter::empty());
        }
        let user = DeletionReport {
            outcome: Outcome::Deleted,
            whose: Whose::user("u"),
            expired_until: Some("2026-10-01".into()),
            partial_days: 2,
            old_tables: vec!["ai-agent-metrics".into()],
            ..look
        };
        let text = user.to_string();
        assert!(text.contains("deleted 25 events of the user with SHA-256 0bfe935e70c3…") && text.contains("and 3 more"), "{text}");
        assert!(text.contains("of 2 days the maxima and the users stay"), "{text}");
        assert!(text.contains("until 2026-10-01") && text.contains("ai-agent-metrics still counts them"), "{text}");
    }
}
