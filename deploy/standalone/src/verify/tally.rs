//! Adds up events as the API shows them, and compares with the numbers that the API shows. Pure, and on purpose
//! without any of the code that counts.

use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Sets of users up to this size are counted exactly; beyond, this share may be off (six standard errors).
const EXACT_USERS: usize = 600;
const USERS_ERROR: f64 = 6.0 * 0.016_25;
/// What the sum of rounded values may be off by, relative.
const ROUNDING: f64 = 1e-9;
/// How far a percentile may be off, as the API says.
const PERCENTILE_ERROR: f64 = 0.02;
/// Names that a day counts apart; the API shows the rest together.
const OTHER: &str = "(other)";

/// An event as the API shows it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Seen {
    message_type: String,
    response_time_ms: Option<f64>,
    token_count: Option<i64>,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cost_usd: Option<f64>,
    user_feedback: Option<f64>,
    model_used: Option<String>,
    user_id: Option<String>,
}

/// What events add up to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) events: u64,
    by_type: BTreeMap<String, u64>,
    tokens: i64,
    input_tokens: i64,
    output_tokens: i64,
    response_times: Vec<f64>,
    cost: f64,
    cost_events: u64,
    feedback: f64,
    feedback_events: u64,
    models: BTreeMap<String, u64>,
    users: BTreeSet<String>,
}

/// One number, shown and recounted.
#[derive(Debug)]
pub(super) struct Number {
    pub(super) name: String,
    pub(super) shown: Value,
    pub(super) recounted: Value,
    pub(super) agrees: bool,
}

impl Tally {
    /// Adds an event.
    pub(super) fn add(&mut self, event: &Seen) {
        self.events += 1;
        *self.by_type.entry(event.message_type.clone()).or_default() += 1;
        self.tokens += event.token_count.unwrap_or(0);
        self.input_tokens += event.input_tokens.unwrap_or(0);
        self.output_tokens += event.output_tokens.unwrap_or(0);
        self.response_times.extend(event.response_time_ms);
        if let Some(cost) = event.cost_usd {
            self.cost += cost;
            self.cost_events += 1;
        }
        if let Some(feedback) = event.user_feedback {
            self.feedback += feedback;
            self.feedback_events += 1;
        }
        if let Some(model) = &event.model_used {
            *self.models.entry(model.clone()).or_default() += 1;
        }
        self.users.extend(event.user_id.clone());
    }

    /// Every number of an agent's `metrics`.
    pub(super) fn compare(&self, shown: &Value) -> Vec<Number> {
        let mut numbers = Vec::new();
        let mut exactly = |pointer: &str, recounted: Value| {
            let shown = shown.pointer(pointer).cloned().unwrap_or_default();
            numbers.push(Number { name: named(pointer), agrees: shown == recounted, shown, recounted });
        };
        let of_type = |name: &str| self.by_type.get(name).copied().unwrap_or(0);
        exactly("/total_events", json!(self.events));
        exactly("/total_messages", json!(of_type("user_message")));
        exactly("/total_responses", json!(of_type("agent_response")));
        exactly("/total_errors", json!(of_type("error")));
        for (name, count) in &self.by_type {
            exactly(&format!("/events_by_type/{name}"), json!(count));
        }
        exactly("/total_tokens_used", json!(self.tokens));
        exactly("/tokens/input", json!(self.input_tokens));
        exactly("/tokens/output", json!(self.output_tokens));
        exactly("/response_times/count", json!(self.response_times.len()));
        exactly("/cost_events", json!(self.cost_events));
        exactly("/feedback_count", json!(self.feedback_events));
        let mut about = |pointer: &str, recounted: Option<f64>, off: f64| {
            let shown = shown.pointer(pointer).cloned().unwrap_or_default();
            let agrees = match (shown.as_f64(), recounted) {
                (Some(shown), Some(recounted)) => (shown - recounted).abs() <= off,
                (shown, recounted) => shown.unwrap_or(0.0) == 0.0 && recounted.is_none(),
            };
            numbers.push(Number { name: named(pointer), agrees, shown, recounted: json!(recounted) });
        };
        // Each value is rounded once, to a nano-dollar, a microsecond and a millionth of a point.
        let cost = (self.cost_events > 0).then_some(self.cost);
        about("/cost_usd", cost, self.cost_events as f64 * 5e-10 + self.cost * ROUNDING);
        let feedback = (self.feedback_events > 0).then(|| self.feedback / self.feedback_events as f64);
        about("/average_feedback_score", feedback, 1e-6);
        let times = {
            let mut times = self.response_times.clone();
            times.sort_by(f64::total_cmp);
            times
        };
        let mean = (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64);
        about("/average_response_time", mean, 1e-3 + mean.unwrap_or(0.0) * ROUNDING);
        about("/response_times/max_ms", times.last().copied(), 1e-3);
        for (name, q) in [("p50_ms", 0.50), ("p95_ms", 0.95), ("p99_ms", 0.99)] {
            // Between two neighbouring values a percentile may be either.
            let rank = q * (times.len().max(1) - 1) as f64;
            let (low, high) = (times.get(rank.floor() as usize), times.get(rank.ceil() as usize));
            let middle = low.zip(high).map(|(low, high)| (low + high) / 2.0);
            let half = low.zip(high).map_or(0.0, |(low, high)| (high - low) / 2.0);
            about(&format!("/response_times/{name}"), middle, half + (middle.unwrap_or(0.0) + half) * PERCENTILE_ERROR + 1e-3);
        }
        let users = self.users.len() as f64;
        about("/unique_users", Some(users), if self.users.len() > EXACT_USERS { users * USERS_ERROR } else { 0.0 });
        numbers.extend(self.models(shown));
        numbers
    }

    /// Each model that is shown by its name; where a day had too many, the rest is together.
    fn models(&self, shown: &Value) -> Vec<Number> {
        let calls: BTreeMap<&str, u64> = (shown["models"].as_array().into_iter().flatten())
            .filter_map(|model| Some((model["model"].as_str()?, model["calls"].as_u64()?)))
            .collect();
        let number = |name: String, shown: u64, recounted: u64| Number {
            name,
            shown: json!(shown),
            recounted: json!(recounted),
            agrees: shown == recounted,
        };
        if calls.contains_key(OTHER) {
            return vec![number("calls of all models".into(), calls.values().sum(), self.models.values().sum())];
        }
        let names: BTreeSet<&str> = calls.keys().copied().chain(self.models.keys().map(String::as_str)).collect();
        let shown_of = |name: &str| calls.get(name).copied().unwrap_or(0);
        let own_of = |name: &str| self.models.get(name).copied().unwrap_or(0);
        names.into_iter().map(|name| number(format!("calls of model {name}"), shown_of(name), own_of(name))).collect()
    }
}

/// `/response_times/count` as `response_times.count`.
fn named(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let mut tally = Tally::default();
        for (n, kind) in ["user_message", "agent_response", "error", "agent_response"].into_iter().enumerate() {
            tally.add(&Seen {
                message_type: kind.into(),
                response_time_ms: Some(100.0 * (n + 1) as f64),
                token_count: Some(5),
                cost_usd: Some(0.25),
                model_used: Some("m".into()),
                user_id: Some(format!("u{}", n % 2)),
                ..Seen::default()
            });
        }
        tally
    }

    fn shown() -> Value {
        json!({
            "total_events": 4, "total_messages": 1, "total_responses": 2, "total_errors": 1,
            "events_by_type": {"user_message": 1, "agent_response": 2, "error": 1, "feedback": 0},
            "total_tokens_used": 20, "tokens": {"input": 0, "output": 0}, "cost_usd": 1.0, "cost_events": 4, "feedback_count": 0,
            "average_feedback_score": 0.0, "average_response_time": 250.0, "unique_users": 2,
            "response_times": {"count": 4, "max_ms": 400.0, "p50_ms": 298.0, "p95_ms": 396.0, "p99_ms": 399.0},
            "models": [{"model": "m", "calls": 4}],
        })
    }

    fn differing(shown: &Value) -> Vec<String> {
        tally().compare(shown).into_iter().filter(|n| !n.agrees).map(|n| n.name).collect()
    }

    #[test]
    fn numbers_agree_within_what_the_api_promises() {
        assert_eq!(differing(&shown()), [] as [String; 0]);
    }

    #[test]
    fn every_number_that_is_off_is_named() {
        for (pointer, wrong, name) in [
            ("/total_events", json!(5), "total_events"),
            ("/events_by_type/error", json!(0), "events_by_type.error"),
            ("/cost_usd", json!(1.000_001), "cost_usd"),
            ("/average_response_time", json!(250.1), "average_response_time"),
            ("/response_times/p50_ms", json!(320.0), "response_times.p50_ms"),
            ("/unique_users", json!(3), "unique_users"),
            ("/models/0/calls", json!(3), "calls of model m"),
        ] {
            let mut shown = shown();
            *shown.pointer_mut(pointer).expect("a number") = wrong;
            assert_eq!(differing(&shown), [name]);
        }
    }

    #[test]
    fn what_is_not_shown_at_all_is_a_difference() {
        assert!(differing(&json!({})).len() > 8);
    }
}
