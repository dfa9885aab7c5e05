//! How an agent is, and the rule that says so. Pure; knows neither paths nor the store.

use crate::numbers;
use schemas::AgentTotals;
use serde::Serialize;
use std::fmt;
use utoipa::ToSchema;

/// An error rate from which on an agent is degraded.
const DEGRADED_ERROR_RATE: f64 = 0.05;
/// An error rate from which on an agent is failing.
const FAILING_ERROR_RATE: f64 = 0.25;
/// Fewer errors than this say nothing.
const FEWEST_ERRORS: i64 = 3;
/// So many times slower than yesterday is degraded.
const SLOWER: f64 = 2.0;
/// Fewer response times than this, today or yesterday, say nothing.
const FEWEST_TIMES: i64 = 20;

/// How an agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AgentStatus {
    /// None of the other rules holds.
    Healthy,
    /// At least 5 errors per 100 messages today, or twice as slow as yesterday.
    Degraded,
    /// At least 25 errors per 100 messages today.
    Failing,
    /// No event for an hour (`AGENT_SILENT_MINUTES`).
    Silent,
}

impl AgentStatus {
    /// Every one with its name.
    pub(super) const NAMES: [(&'static str, Self); 4] =
        [("healthy", Self::Healthy), ("degraded", Self::Degraded), ("failing", Self::Failing), ("silent", Self::Silent)];
}

/// The rule that decided, in words through `Display`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    Silent { minutes: i64 },
    Errors { rate: f64, of: &'static str, least: f64 },
    Slow { now_ms: f64, then_ms: f64 },
    None,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent { minutes } => write!(f, "no event for {minutes} minutes or more"),
            Self::Errors { rate, of, least } => {
                write!(f, "{:.1} errors per 100 {of} today, {} or more", rate * 100.0, least * 100.0)
            }
            Self::Slow { now_ms, then_ms } => {
                write!(f, "mean response time {now_ms:.0} ms today, {then_ms:.0} ms yesterday: {SLOWER} times or more")
            }
            Self::None => f.write_str("seen lately, few errors, about as fast as yesterday"),
        }
    }
}

/// How an agent is; the first rule that holds decides. `age` (µs) is that of its newest event.
pub(super) fn status(today: &AgentTotals, yesterday: &AgentTotals, age: i64, silent_us: i64) -> (AgentStatus, Rule) {
    if age >= silent_us {
        return (AgentStatus::Silent, Rule::Silent { minutes: silent_us / 60_000_000 });
    }
    // Errors without messages are judged by all events: a client may report nothing else.
    let rate = today.errors as f64 / if today.messages > 0 { today.messages } else { today.calls.max(1) } as f64;
    let of = if today.messages > 0 { "messages" } else { "events" };
    for (least, status) in [(FAILING_ERROR_RATE, AgentStatus::Failing), (DEGRADED_ERROR_RATE, AgentStatus::Degraded)] {
        if today.errors >= FEWEST_ERRORS && rate >= least {
            return (status, Rule::Errors { rate, of, least });
        }
    }
    let means = (numbers::mean_ms(today.latency_us, today.latency_n), numbers::mean_ms(yesterday.latency_us, yesterday.latency_n));
    if let (Some(now_ms), Some(then_ms)) = means
        && today.latency_n.min(yesterday.latency_n) >= FEWEST_TIMES
        && now_ms >= then_ms * SLOWER
    {
        return (AgentStatus::Degraded, Rule::Slow { now_ms, then_ms });
    }
    (AgentStatus::Healthy, Rule::None)
}

/// Agents by how they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct StatusCounts {
    /// None of the rules holds.
    healthy: usize,
    /// Some errors, or slow.
    degraded: usize,
    /// Many errors.
    failing: usize,
    /// Not heard of lately.
    silent: usize,
}

impl StatusCounts {
    /// Counts so many more.
    pub(super) fn add(&mut self, status: AgentStatus, agents: usize) {
        *match status {
            AgentStatus::Healthy => &mut self.healthy,
            AgentStatus::Degraded => &mut self.degraded,
            AgentStatus::Failing => &mut self.failing,
            AgentStatus::Silent => &mut self.silent,
        } += agents;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(messages: i64, errors: i64, mean_ms: i64) -> AgentTotals {
        let calls = messages + errors;
        AgentTotals { calls, messages, errors, latency_n: 100, latency_us: mean_ms * 100_000, ..AgentTotals::default() }
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        let hour = 3_600_000_000;
        let of = |today: AgentTotals, age| status(&today, &totals(100, 0, 100), age, hour).0;
        assert_eq!(of(totals(100, 50, 100), hour), AgentStatus::Silent);
        assert_eq!(of(totals(100, 25, 100), 0), AgentStatus::Failing);
        assert_eq!(of(totals(100, 5, 100), 0), AgentStatus::Degraded);
        assert_eq!(of(totals(2, 2, 100), 0), AgentStatus::Healthy, "too few errors to say");
        assert_eq!(of(totals(100, 0, 200), 0), AgentStatus::Degraded, "twice as slow");
        assert_eq!(of(totals(100, 0, 150), 0), AgentStatus::Healthy);
    }
}
