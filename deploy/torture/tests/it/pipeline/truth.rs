//! What the sender's books say about any set of events, computed without the services' own arithmetic.

use schemas::MessageType;
use std::collections::{BTreeMap, BTreeSet};
use torture::ledger::{Ledger, SentEvent};

/// Every accepted event, once.
pub(crate) struct Truth(Vec<SentEvent>);

impl Truth {
    pub(crate) fn of(ledger: &Ledger) -> Self {
        Self(ledger.events().values().cloned().collect())
    }

    pub(super) fn agents(&self) -> BTreeSet<&str> {
        self.0.iter().map(|e| e.agent.as_str()).collect()
    }

    /// Of these agents (all where empty), from `from` on and before `to`.
    pub(super) fn events<'a>(&'a self, agents: &'a [&str], from: i64, to: i64) -> impl Iterator<Item = &'a SentEvent> + Clone {
        self.0.iter().filter(move |e| (agents.is_empty() || agents.contains(&e.agent.as_str())) && (from..to).contains(&e.timestamp))
    }

    pub(super) fn all_of<'a>(&'a self, agent: &'a str) -> impl Iterator<Item = &'a SentEvent> {
        self.0.iter().filter(move |e| e.agent == agent)
    }

    pub(super) fn last_at(&self) -> i64 {
        self.0.iter().map(|e| e.timestamp).max().unwrap()
    }
}

/// Calls, tokens and cost (µ$) of a model.
pub(super) type Use = (i64, i64, i64);

/// The numbers of some events.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) calls: i64,
    pub(super) by_type: BTreeMap<&'static str, i64>,
    /// Sorted, whole ms.
    pub(super) times: Vec<i64>,
    pub(super) tokens: (i64, i64),
    pub(super) costs: Vec<i64>,
    pub(super) feedback: Vec<i64>,
    pub(super) users: BTreeSet<String>,
    pub(super) models: BTreeMap<String, Use>,
    /// Calls and ms.
    pub(super) tools: BTreeMap<String, (i64, i64)>,
    pub(super) error_types: BTreeMap<String, i64>,
    pub(super) last_at: Option<i64>,
}

impl Sums {
    pub(super) fn of<'a>(events: impl Iterator<Item = &'a SentEvent>) -> Self {
        let mut sums = Self::default();
        for e in events {
            let (input, output) = e.tokens.unwrap_or_default();
            sums.calls += 1;
            *sums.by_type.entry(e.message_type.name()).or_default() += 1;
            sums.times.extend(e.response_time_ms);
            sums.tokens = (sums.tokens.0 + input, sums.tokens.1 + output);
            sums.costs.extend(e.cost_micro);
            sums.feedback.extend(e.feedback);
            sums.users.extend(e.user.clone());
            if let Some(model) = &e.model {
                let used = sums.models.entry(model.clone()).or_default();
                *used = (used.0 + 1, used.1 + input + output, used.2 + e.cost_micro.unwrap_or(0));
            }
            if let Some(tool) = &e.tool {
                let used = sums.tools.entry(tool.clone()).or_default();
                *used = (used.0 + 1, used.1 + e.response_time_ms.unwrap_or(0));
            }
            if let Some(error) = &e.error_type {
                *sums.error_types.entry(error.clone()).or_default() += 1;
            }
            sums.last_at = sums.last_at.max(Some(e.timestamp));
        }
        sums.times.sort_unstable();
        sums
    }

    pub(super) fn count(&self, message_type: MessageType) -> i64 {
        self.by_type.get(message_type.name()).copied().unwrap_or(0)
    }

    pub(super) fn mean_time(&self) -> Option<f64> {
        mean(&self.times)
    }

    pub(super) fn mean_feedback(&self) -> Option<f64> {
        mean(&self.feedback)
    }

    /// Exactly, ms.
    pub(super) fn percentile(&self, q: f64) -> Option<f64> {
        let rank = q * self.times.len().checked_sub(1)? as f64;
        Some(self.times[rank.floor() as usize] as f64)
    }

    pub(super) fn max_time(&self) -> Option<f64> {
        self.times.last().map(|ms| *ms as f64)
    }

    /// Dollars.
    pub(super) fn cost(&self) -> Option<f64> {
        (!self.costs.is_empty()).then(|| self.costs.iter().sum::<i64>() as f64 / 1e6)
    }

    pub(super) fn error_rate(&self) -> f64 {
        let messages = self.count(MessageType::UserMessage);
        if messages == 0 { 0.0 } else { self.count(MessageType::Error) as f64 / messages as f64 }
    }
}

fn mean(of: &[i64]) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().sum::<i64>() as f64 / of.len() as f64)
}
