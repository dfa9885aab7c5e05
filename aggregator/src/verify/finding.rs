//! What does not agree, each named so that a person can look it up in the table.

use schemas::AgentEvent;
use schemas::item::{MetricKey, Period, Subject, event_sort_key};
use schemas::time::format_micros;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Finding {
    /// A counter of a rollup is not what its events add up to.
    Counter {
        /// The item.
        item: ItemName,
        /// The counter's attribute.
        counter: String,
        /// What the item has.
        stored: i64,
        /// What the events add up to.
        recounted: i64,
    },
    /// A set of users does not hold just the users of its events.
    Users {
        /// The item.
        item: ItemName,
        /// What is wrong with it.
        problem: String,
    },
    /// The log has an event that is counted neither as an event nor as a dead letter.
    EventMissing {
        /// The event.
        event: EventName,
        /// Its record in the log.
        position: String,
    },
    /// The table has an event that did not come from the log.
    EventForeign {
        /// The event.
        event: EventName,
        /// How one can tell.
        reason: String,
    },
    /// A stored event is not what its record in the log says.
    EventAltered {
        /// The event.
        event: EventName,
        /// Its record in the log.
        position: String,
        /// The fields that differ.
        fields: Vec<String>,
    },
    /// An agent has events, but the directory does not list it.
    AgentNotListed {
        /// The agent.
        agent_id: String,
    },
    /// The table has more (or fewer) events of records of the log than the log has such records.
    EventCount {
        /// Partition of the log.
        partition: u32,
        /// Events in the table.
        stored: u64,
        /// Records that became events.
        logged: u64,
    },
    /// A record that cannot have been counted has no dead letter.
    DeadLetterMissing {
        /// The record in the log.
        position: String,
    },
}

/// An item of the metrics table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemName {
    /// For a person: `agent support-1, day 2026-11-26`.
    pub name: String,
    /// Its partition key.
    pub agent_id: String,
    /// Its sort key.
    pub date: String,
}

impl From<&MetricKey> for ItemName {
    fn from(key: &MetricKey) -> Self {
        let whose = match &key.subject {
            Subject::Agent(agent) => format!("agent {agent}"),
            Subject::Fleet(partition) => format!("fleet, log partition {partition}"),
            Subject::Log(partition) => format!("records of log partition {partition}"),
        };
        let which = match key.period {
            Period::Day(_) => "day",
            Period::Hour(_) => "hour",
            Period::Users(_) => "users of",
        };
        let date = key.sort_key();
        Self { name: format!("{whose}, {which} {date}"), agent_id: key.partition_key(), date }
    }
}

/// An event of the events table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventName {
    /// Whose.
    pub agent_id: String,
    /// When, as ISO time.
    pub timestamp: String,
    /// Its id.
    pub event_id: String,
    /// Its sort key.
    pub sort_key: String,
}

impl From<&AgentEvent> for EventName {
    fn from(event: &AgentEvent) -> Self {
        Self {
            agent_id: event.agent_id.clone(),
            timestamp: format_micros(event.timestamp),
            event_id: event.event_id.clone(),
            sort_key: event_sort_key(event.timestamp, &event.event_id),
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {} of agent {} at {}", self.event_id, self.agent_id, self.timestamp)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Counter { item, counter, stored, recounted } => {
                write!(f, "{}: {counter} is {stored}, its events add up to {recounted}", item.name)
            }
            Self::Users { item, problem } => write!(f, "{}: {problem}", item.name),
            Self::EventMissing { event, position } => {
                write!(f, "{event}: the log has it at {position}, the table does not, and it is no dead letter")
            }
            Self::EventForeign { event, reason } => write!(f, "{event}: the table has it, but {reason}"),
            Self::EventAltered { event, position, fields } => {
                write!(f, "{event}: differs from its record {position} in {}", fields.join(", "))
            }
            Self::AgentNotListed { agent_id } => write!(f, "agent {agent_id} has events, but the directory does not list it"),
            Self::EventCount { partition, stored, logged } => {
                write!(f, "log partition {partition}: the table has {stored} events of its records, but {logged} of them became events")
            }
            Self::DeadLetterMissing { position } => write!(f, "record {position} can be no event, but has no dead letter"),
        }
    }
}
