//! What the gateways say they have accepted, by day: each tells its own count since its start.

use schemas::AgentTotals;
use std::collections::BTreeMap;

/// Gateways (one more for each start) and days that are kept; beyond, the oldest days go first.
const MOST: usize = 20_000;

/// Counts by day and gateway.
#[derive(Debug, Default)]
pub(super) struct Accepted(BTreeMap<(i32, String), i64>);

impl Accepted {
    /// Takes a gateway's count where it is the higher one.
    pub(super) fn take(&mut self, totals: &AgentTotals) {
        let count = self.0.entry((totals.day, totals.agent_id.clone())).or_default();
        *count = totals.calls.max(*count);
        while self.0.len() > MOST {
            self.0.pop_first();
        }
    }

    /// Forgets days before this one.
    pub(super) fn keep_from(&mut self, day: i32) {
        self.0 = self.0.split_off(&(day, String::new()));
    }

    /// The sum over all gateways; `None` where none told of the day.
    pub(super) fn on(&self, day: i32) -> Option<u64> {
        let mut counts = self.0.range((day, String::new())..(day + 1, String::new())).map(|(_, count)| *count).peekable();
        counts.peek()?;
        Some(counts.map(|count| u64::try_from(count).unwrap_or(0)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::totals::gateway_name;

    #[test]
    fn gateways_add_up_and_each_counts_with_its_highest_word() {
        let mut accepted = Accepted::default();
        for (gateway, day, calls) in [("a", 5, 3), ("b", 5, 4), ("a", 5, 2), ("a", 6, 1)] {
            accepted.take(&AgentTotals { agent_id: gateway_name(gateway), day, calls, ..AgentTotals::default() });
        }
        assert_eq!([4, 5, 6, 7].map(|day| accepted.on(day)), [None, Some(7), Some(1), None]);
        accepted.keep_from(6);
        assert_eq!([5, 6].map(|day| accepted.on(day)), [None, Some(1)]);
    }
}
