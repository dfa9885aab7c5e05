//! What the counters of a rollup mean to a reader: units, means, percentiles. Pure; reads nothing.

use schemas::rollup::{ModelUse, Rollup, ToolUse};
use schemas::sketch::{RELATIVE_ERROR, quantile};
use schemas::users::{STANDARD_ERROR, UserSet};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Errors per message; 0 with no messages.
pub(crate) fn error_rate(errors: i64, messages: i64) -> f64 {
    if messages > 0 { errors as f64 / messages as f64 } else { 0.0 }
}

/// Dollars; `None` where no event has a known cost.
pub(crate) fn dollars(nanousd: i64, events: i64) -> Option<f64> {
    (events > 0).then(|| nanousd as f64 / 1e9)
}

/// A sum of µs over a number of events as mean ms; `None` without data.
pub(crate) fn mean_ms(sum_us: i64, events: i64) -> Option<f64> {
    (events > 0).then(|| sum_us as f64 / events as f64 / 1e3)
}

/// A percentile of the response times in ms, at most [`RELATIVE_ERROR`] off; `None` without data.
pub(crate) fn percentile_ms(rollup: &Rollup, q: f64) -> Option<f64> {
    // The greatest value is known exactly, and no percentile exceeds it.
    let micros = quantile(&rollup.latency_buckets, q)?.min(rollup.latency_max_us.max(1) as f64);
    Some((micros.round()) / 1e3)
}

/// Response times.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ResponseTimes {
    /// Events that carry a response time.
    pub(crate) count: i64,
    /// Mean, ms.
    #[schema(required)]
    pub(crate) average_ms: Option<f64>,
    /// Half of the response times are at most this, ms (estimate).
    #[schema(required)]
    pub(crate) p50_ms: Option<f64>,
    /// 95 of 100 are at most this, ms (estimate).
    #[schema(required)]
    pub(crate) p95_ms: Option<f64>,
    /// 99 of 100 are at most this, ms (estimate).
    #[schema(required)]
    pub(crate) p99_ms: Option<f64>,
    /// The longest, ms.
    #[schema(required)]
    pub(crate) max_ms: Option<f64>,
    /// Greatest relative error of the percentiles.
    pub(crate) percentile_error: f64,
}

impl ResponseTimes {
    pub(crate) fn of(rollup: &Rollup) -> Self {
        Self {
            count: rollup.latency_n,
            average_ms: rollup.average_latency_ms(),
            p50_ms: percentile_ms(rollup, 0.50),
            p95_ms: percentile_ms(rollup, 0.95),
            p99_ms: percentile_ms(rollup, 0.99),
            max_ms: (rollup.latency_n > 0).then(|| rollup.latency_max_us as f64 / 1e3),
            percentile_error: RELATIVE_ERROR,
        }
    }
}

/// Tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Tokens {
    /// Sum of `token_count`.
    pub(crate) total: i64,
    /// Sum of input tokens, cached ones included.
    pub(crate) input: i64,
    /// Sum of output tokens, reasoning included.
    pub(crate) output: i64,
    /// Input tokens that came from a cache.
    pub(crate) cached_input: i64,
    /// Output tokens spent on reasoning.
    pub(crate) reasoning: i64,
}

impl Tokens {
    pub(crate) fn of(rollup: &Rollup) -> Self {
        Self {
            total: rollup.tokens,
            input: rollup.input_tokens,
            output: rollup.output_tokens,
            cached_input: rollup.cached_input_tokens,
            reasoning: rollup.reasoning_tokens,
        }
    }
}

/// Use of one model. A day counts at most 64 names apart; the rest is `(other)`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ModelNumbers {
    /// Its name, as the agents call it.
    pub(crate) model: String,
    /// Events that carry it.
    pub(crate) calls: i64,
    /// Their tokens.
    pub(crate) tokens: i64,
    /// Their known cost, US dollars; null where none is known.
    #[schema(required)]
    pub(crate) cost_usd: Option<f64>,
}

/// Use of one tool.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ToolNumbers {
    /// Its name.
    pub(crate) tool: String,
    /// Events that carry it.
    pub(crate) calls: i64,
    /// Sum of their response times, ms.
    pub(crate) response_time_ms: f64,
}

/// Errors of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ErrorNumbers {
    /// The kind.
    pub(crate) error_type: String,
    /// How many.
    pub(crate) count: i64,
}

/// Models, most used first.
pub(crate) fn models(models: &BTreeMap<String, ModelUse>) -> Vec<ModelNumbers> {
    let mut list: Vec<_> = models
        .iter()
        .filter(|(_, used)| used.calls != 0)
        .map(|(model, used)| ModelNumbers {
            model: model.clone(),
            calls: used.calls,
            tokens: used.tokens,
            cost_usd: dollars(used.cost_nanousd, used.cost_nanousd),
        })
        .collect();
    list.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.model.cmp(&b.model)));
    list
}

/// Tools, most used first.
pub(crate) fn tools(tools: &BTreeMap<String, ToolUse>) -> Vec<ToolNumbers> {
    let mut list: Vec<_> = tools
        .iter()
        .filter(|(_, used)| used.calls != 0)
        .map(|(tool, used)| ToolNumbers { tool: tool.clone(), calls: used.calls, response_time_ms: used.latency_us as f64 / 1e3 })
        .collect();
    list.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.tool.cmp(&b.tool)));
    list
}

/// Kinds of errors, most frequent first.
pub(crate) fn errors(types: &BTreeMap<String, i64>) -> Vec<ErrorNumbers> {
    let mut list: Vec<_> = types
        .iter()
        .filter(|(_, count)| **count != 0)
        .map(|(name, count)| ErrorNumbers { error_type: name.clone(), count: *count })
        .collect();
    list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.error_type.cmp(&b.error_type)));
    list
}

/// Standard error of a count of distinct users: 0 where it is exact.
pub(crate) fn users_error(users: &UserSet) -> f64 {
    if users.is_exact() { 0.0 } else { STANDARD_ERROR }
}

/// All sets in one.
pub(crate) fn united(sets: impl IntoIterator<Item = UserSet>) -> UserSet {
    let mut all = UserSet::default();
    for set in sets {
        all.unite(&set);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::sketch::bucket_of;

    #[test]
    fn no_percentile_exceeds_the_longest_response_time() {
        let mut rollup = Rollup { latency_n: 1, latency_us: 1_000, latency_max_us: 1_000, ..Rollup::default() };
        rollup.latency_buckets.insert(bucket_of(1_000), 1);
        let times = ResponseTimes::of(&rollup);
        assert!(times.p99_ms <= times.max_ms && times.p50_ms.is_some());
    }

    #[test]
    fn no_data_is_null_and_not_zero() {
        let times = ResponseTimes::of(&Rollup::default());
        assert_eq!((times.average_ms, times.p50_ms, times.max_ms, dollars(0, 0), error_rate(3, 0)), (None, None, None, None, 0.0));
    }
}
