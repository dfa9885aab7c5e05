//! What was acknowledged, by agent and UTC day: what the numbers must show. The units are the contract's;
//! times and scores are whole, so that sums compare exactly.

use super::conversation::Event;
use schemas::MessageType;
use schemas::time::{day_of, format_day};
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

/// The ledger.
#[derive(Debug, Serialize)]
pub(super) struct Ledger {
    seed: u64,
    events: u64,
    agents: BTreeMap<String, BTreeMap<String, DayEntry>>,
}

/// An agent's day.
#[derive(Debug, Default, Serialize)]
pub(super) struct DayEntry {
    pub(super) events: u64,
    pub(super) by_type: BTreeMap<&'static str, u64>,
    pub(super) total_tokens: i64,
    /// Microseconds.
    pub(super) response_time_us: i64,
    pub(super) response_times: u64,
    pub(super) feedback_sum: i64,
    pub(super) feedbacks: u64,
    #[serde(rename = "unique_users", serialize_with = "length")]
    pub(super) users: BTreeSet<String>,
}

impl Ledger {
    /// An empty one.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, events: 0, agents: BTreeMap::new() }
    }

    /// Notes an acknowledged event.
    pub(super) fn add(&mut self, event: &Event) {
        self.events += 1;
        let days = self.agents.entry(event.agent_id.clone()).or_default();
        let day = days.entry(format_day(day_of(event.at))).or_default();
        day.events += 1;
        *day.by_type.entry(MessageType::name(event.message_type)).or_default() += 1;
        day.total_tokens += event.input_tokens.unwrap_or(0) + event.output_tokens.unwrap_or(0);
        if let Some(ms) = event.response_time_ms {
            day.response_time_us += (ms * 1_000.0).round() as i64;
            day.response_times += 1;
        }
        if let Some(score) = event.user_feedback {
            day.feedback_sum += score as i64;
            day.feedbacks += 1;
        }
        if !day.users.contains(&event.user_id) {
            day.users.insert(event.user_id.clone());
        }
    }

    /// Every agent's days.
    #[cfg(test)]
    pub(super) fn agents(&self) -> &BTreeMap<String, BTreeMap<String, DayEntry>> {
        &self.agents
    }
}

fn length<S: Serializer>(users: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(users.len() as u64)
}
