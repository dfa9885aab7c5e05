//! What an event adds: a pure function from an event to additions, and their sum.
//!
//! Every value is rounded once, here: milliseconds to microseconds, dollars to 10⁻⁹ dollars, feedback to
//! millionths of a point. After that everything is integers that add, so order and grouping never matter.

use schemas::event::{AgentEvent, MessageType};
use schemas::rollup::{ModelUse, NAMES_PER_ITEM, OTHER, Rollup, Slot, ToolUse};
use schemas::sketch::bucket_of;
use schemas::time::slot_of;
use std::collections::{BTreeMap, BTreeSet};

/// What one log record adds to each item that it touches.
#[derive(Clone, Debug, PartialEq)]
pub enum Addition {
    /// A new event.
    Event(Box<EventAddition>),
    /// A duplicate that was skipped.
    Duplicate,
    /// An event that was counted and deleted since: only the mark moves on.
    Nothing,
    /// To the log's own item: what became of a record.
    Record(Outcome),
}

/// What becomes of a record of the log; exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its event is stored and counted.
    Inserted,
    /// Its event was stored from another position: skipped.
    Duplicate,
    /// It cannot be processed.
    DeadLetter,
}

/// The rounded values of a new event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventAddition {
    timestamp: i64,
    message_type: MessageType,
    latency_us: Option<i64>,
    tokens: i64,
    input_tokens: i64,
    output_tokens: i64,
    cached_input_tokens: i64,
    reasoning_tokens: i64,
    cost_nanousd: Option<i64>,
    feedback_micro: Option<i64>,
    model: Option<Box<str>>,
    tool: Option<Box<str>>,
    error_type: Option<Box<str>>,
}

/// What an event adds.
pub fn fold(event: &AgentEvent) -> Addition {
    let rounded = |value: Option<f64>, units: f64| value.map(|v| (v * units).round() as i64);
    Addition::Event(Box::new(EventAddition {
        timestamp: event.timestamp,
        message_type: event.message_type,
        latency_us: rounded(event.response_time_ms, 1e3),
        tokens: event.token_count.unwrap_or(0),
        input_tokens: event.input_tokens.unwrap_or(0),
        output_tokens: event.output_tokens.unwrap_or(0),
        cached_input_tokens: event.cached_input_tokens.unwrap_or(0),
        reasoning_tokens: event.reasoning_tokens.unwrap_or(0),
        cost_nanousd: rounded(event.cost_usd, 1e9),
        feedback_micro: rounded(event.user_feedback, 1e6),
        model: event.model_used.as_deref().map(Into::into),
        tool: event.tool_name.as_deref().map(Into::into),
        // Only errors carry an error type into the counters, whatever metadata says.
        error_type: event.error_type.as_deref().filter(|_| event.message_type == MessageType::Error).map(Into::into),
    }))
}

/// Adds one addition to a sum. Hour items also get five-minute slots.
pub fn add(sum: &mut Rollup, addition: &Addition, with_slots: bool) {
    let event = match addition {
        Addition::Nothing => return,
        Addition::Duplicate => {
            sum.duplicates += 1;
            return;
        }
        Addition::Record(outcome) => {
            sum.logged += 1;
            match outcome {
                Outcome::Inserted => sum.inserted += 1,
                Outcome::Duplicate => sum.duplicates += 1,
                Outcome::DeadLetter => sum.dead_letters += 1,
            }
            return;
        }
        Addition::Event(event) => event,
    };
    sum.last_at = sum.last_at.max(event.timestamp);
    sum.calls += 1;
    sum.by_type[event.message_type as usize] += 1;
    if let Some(us) = event.latency_us {
        sum.latency_us = sum.latency_us.saturating_add(us);
        sum.latency_n += 1;
        sum.latency_max_us = sum.latency_max_us.max(us);
        *sum.latency_buckets.entry(bucket_of(us)).or_default() += 1;
    }
    sum.tokens = sum.tokens.saturating_add(event.tokens);
    sum.input_tokens = sum.input_tokens.saturating_add(event.input_tokens);
    sum.output_tokens = sum.output_tokens.saturating_add(event.output_tokens);
    sum.cached_input_tokens = sum.cached_input_tokens.saturating_add(event.cached_input_tokens);
    sum.reasoning_tokens = sum.reasoning_tokens.saturating_add(event.reasoning_tokens);
    if let Some(cost) = event.cost_nanousd {
        sum.cost_nanousd = sum.cost_nanousd.saturating_add(cost);
        sum.cost_n += 1;
    }
    if let Some(feedback) = event.feedback_micro {
        sum.feedback_micro = sum.feedback_micro.saturating_add(feedback);
        sum.feedback_n += 1;
    }
    if let Some(name) = &event.model {
        let of = named(&mut sum.models, name);
        of.calls += 1;
        of.tokens = of.tokens.saturating_add(event.tokens);
        of.cost_nanousd = of.cost_nanousd.saturating_add(event.cost_nanousd.unwrap_or(0));
    }
    if let Some(name) = &event.tool {
        let of = named(&mut sum.tools, name);
        of.calls += 1;
        of.latency_us = of.latency_us.saturating_add(event.latency_us.unwrap_or(0));
    }
    if let Some(name) = &event.error_type {
        *named(&mut sum.error_types, name) += 1;
    }
    if with_slots {
        sum.slots.entry(slot_of(event.timestamp)).or_default().add(&Slot {
            calls: 1,
            messages: i64::from(event.message_type == MessageType::UserMessage),
            errors: i64::from(event.message_type == MessageType::Error),
            latency_us: event.latency_us.unwrap_or(0),
            latency_n: i64::from(event.latency_us.is_some()),
            latency_max_us: event.latency_us.unwrap_or(0),
            tokens: event.tokens,
            cost_nanousd: event.cost_nanousd.unwrap_or(0),
        });
    }
}

fn named<'a, V: Default>(map: &'a mut BTreeMap<String, V>, name: &str) -> &'a mut V {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), V::default());
    }
    map.get_mut(name).expect("inserted above")
}

/// The clients' names that an item has counters for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    models: BTreeSet<String>,
    tools: BTreeSet<String>,
    error_types: BTreeSet<String>,
}

impl Names {
    /// The names of an item.
    pub fn of(rollup: &Rollup) -> Self {
        Self {
            models: rollup.models.keys().cloned().collect(),
            tools: rollup.tools.keys().cloned().collect(),
            error_types: rollup.error_types.keys().cloned().collect(),
        }
    }

    /// The names of an item under which something is left.
    pub fn in_use(rollup: &Rollup) -> Self {
        Self {
            models: rollup.models.iter().filter(|(_, used)| used.calls != 0).map(|(name, _)| name.clone()).collect(),
            tools: rollup.tools.iter().filter(|(_, used)| used.calls != 0).map(|(name, _)| name.clone()).collect(),
            error_types: rollup.error_types.iter().filter(|(_, count)| **count != 0).map(|(name, _)| name.clone()).collect(),
        }
    }

    /// Moves what `sum` has under names beyond the first [`NAMES_PER_ITEM`] to [`OTHER`].
    pub fn cap(&self, sum: &mut Rollup) {
        cap(&self.models, &mut sum.models, |other, m: ModelUse| {
            other.calls += m.calls;
            other.tokens += m.tokens;
            other.cost_nanousd += m.cost_nanousd;
        });
        cap(&self.tools, &mut sum.tools, |other, t: ToolUse| {
            other.calls += t.calls;
            other.latency_us += t.latency_us;
        });
        cap(&self.error_types, &mut sum.error_types, |other, n: i64| *other += n);
    }

    /// Takes note of the names that an update added.
    pub fn extend(&mut self, sum: &Rollup) {
        self.models.extend(sum.models.keys().cloned());
        self.tools.extend(sum.tools.keys().cloned());
        self.error_types.extend(sum.error_types.keys().cloned());
    }
}

fn cap<V: Default>(known: &BTreeSet<String>, sums: &mut BTreeMap<String, V>, merge: impl Fn(&mut V, V)) {
    let mut room = NAMES_PER_ITEM.saturating_sub(known.iter().filter(|n| *n != OTHER).count());
    let beyond: Vec<String> = sums
        .keys()
        .filter(|name| {
            if known.contains(*name) || *name == OTHER {
                return false;
            }
            let fits = room > 0;
            room = room.saturating_sub(1);
            !fits
        })
        .cloned()
        .collect();
    for name in beyond {
        if let Some(value) = sums.remove(&name) {
            merge(named(sums, OTHER), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event() -> impl Strategy<Value = AgentEvent> {
        (
            0i64..7_200_000_000,
            prop::sample::select(MessageType::ALL.to_vec()),
            prop::option::of(0.0f64..1e9),
            prop::option::of(0i64..1_000_000),
            prop::option::of("[a-c]"),
            prop::option::of(0.0f64..10.0),
            prop::option::of(1.0f64..5.0),
            prop::option::of("[x-z]"),
        )
            .prop_map(|(timestamp, message_type, ms, tokens, model, cost, feedback, tool)| {
                let mut e = AgentEvent::new("a", timestamp, "e", message_type);
                e.response_time_ms = ms;
                e.token_count = tokens;
                e.model_used = model;
                e.cost_usd = cost;
                e.user_feedback = feedback;
                e.error_type = tool.clone();
                e.tool_name = tool;
                e
            })
    }

    fn sum_of<'a>(events: impl IntoIterator<Item = &'a AgentEvent>) -> Rollup {
        let mut sum = Rollup::default();
        for e in events {
            add(&mut sum, &fold(e), true);
        }
        sum
    }

    proptest! {
        #[test]
        fn order_and_split_never_matter(events in prop::collection::vec(event(), 0..40), cut in 0usize..40, seed in 0usize..1000) {
            let whole = sum_of(&events);
            let mut shuffled: Vec<_> = events.iter().collect();
            shuffled.sort_by_key(|e| (e.timestamp.wrapping_mul(seed as i64 + 7)) % 1_009);
            prop_assert_eq!(&sum_of(shuffled), &whole);
            let (a, b) = events.split_at(cut.min(events.len()));
            let mut parts = sum_of(a);
            parts.add(&sum_of(b));
            prop_assert_eq!(&parts, &whole);
        }

        #[test]
        fn capping_keeps_every_sum(names in prop::collection::vec("[a-z]{1,2}", 1..300)) {
            let mut known = Names::default();
            let mut item = Rollup::default();
            for chunk in names.chunks(7) {
                let mut sum = Rollup::default();
                for name in chunk {
                    let mut e = AgentEvent::new("a", 0, "e", MessageType::Error);
                    e.model_used = Some(name.clone());
                    e.error_type = Some(name.clone());
                    e.token_count = Some(3);
                    add(&mut sum, &fold(&e), false);
                }
                known.cap(&mut sum);
                known.extend(&sum);
                item.add(&sum);
            }
            prop_assert!(item.models.keys().filter(|n| *n != OTHER).count() <= NAMES_PER_ITEM);
            prop_assert_eq!(item.models.values().map(|m| m.calls).sum::<i64>(), names.len() as i64);
            prop_assert_eq!(item.models.values().map(|m| m.tokens).sum::<i64>(), item.tokens);
            prop_assert_eq!(item.error_types.values().sum::<i64>(), names.len() as i64);
        }
    }

    #[test]
    fn values_are_rounded_once() {
        let mut e = AgentEvent::new("a", 0, "e", MessageType::AgentResponse);
        e.response_time_ms = Some(1.000_4);
        e.cost_usd = Some(0.000_000_001_4);
        e.user_feedback = Some(4.5);
        let sum = sum_of([&e, &e, &e]);
        assert_eq!((sum.latency_us, sum.cost_nanousd, sum.feedback_micro), (3_000, 3, 13_500_000));
    }
}
