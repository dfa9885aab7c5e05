//! The counters of a rollup item (agent or fleet, by day or hour) and their attribute names.
//!
//! Everything here adds: a rollup is the sum of its events' additions in any order and any grouping.
//! Only the maxima (`latency_max_us`, `last_at`) take the greater value instead; repeating them is harmless.
//! Units: microseconds, tokens, 10⁻⁹ US dollars, millionths of a feedback point, plain counts.

use crate::event::MessageType;
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::{BTreeMap, HashMap};

/// Clients' names (models, tools, error types) get at most this many counters each per item.
pub const NAMES_PER_ITEM: usize = 64;
/// The counter of the names beyond [`NAMES_PER_ITEM`].
pub const OTHER: &str = "(other)";
/// Number of flushes of the item.
pub const VERSION: &str = "version";
/// The newest event's timestamp, µs since the epoch; a maximum.
pub const LAST_AT: &str = "last_at";
/// The longest response time, µs; a maximum.
pub const LATENCY_MAX: &str = "latency_max_us";
const MARK_PREFIX: &str = "mark_";

/// Use of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelUse {
    /// Events that carry the model.
    pub calls: i64,
    /// Their tokens.
    pub tokens: i64,
    /// Their known cost, 10⁻⁹ US dollars.
    pub cost_nanousd: i64,
}

/// Use of one tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToolUse {
    /// Events that carry the tool.
    pub calls: i64,
    /// Sum of their response times, µs.
    pub latency_us: i64,
}

/// One five-minute slot inside an hour item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// All events.
    pub calls: i64,
    /// `user_message` events.
    pub messages: i64,
    /// `error` events.
    pub errors: i64,
    /// Sum of response times, µs.
    pub latency_us: i64,
    /// Events with a response time.
    pub latency_n: i64,
    /// Longest response time, µs; a maximum.
    pub latency_max_us: i64,
    /// Sum of token counts.
    pub tokens: i64,
    /// Known cost, 10⁻⁹ US dollars.
    pub cost_nanousd: i64,
}

/// Counters of an item, or what one or more events add to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollup {
    /// Number of flushes; only read, never part of additions.
    pub version: i64,
    /// Newest event's timestamp, µs since the epoch; a maximum, 0 where there is none.
    pub last_at: i64,
    /// All events.
    pub calls: i64,
    /// Events by type, in the order of [`MessageType::ALL`].
    pub by_type: [i64; MessageType::ALL.len()],
    /// Sum of response times, µs.
    pub latency_us: i64,
    /// Events with a response time.
    pub latency_n: i64,
    /// Longest response time, µs; a maximum.
    pub latency_max_us: i64,
    /// Response times by DDSketch bucket, see [`crate::sketch`].
    pub latency_buckets: BTreeMap<i32, i64>,
    /// Sum of `token_count`.
    pub tokens: i64,
    /// Sum of input tokens.
    pub input_tokens: i64,
    /// Sum of output tokens.
    pub output_tokens: i64,
    /// Sum of cached input tokens.
    pub cached_input_tokens: i64,
    /// Sum of reasoning tokens.
    pub reasoning_tokens: i64,
    /// Known cost, 10⁻⁹ US dollars.
    pub cost_nanousd: i64,
    /// Events with a known cost.
    pub cost_n: i64,
    /// Sum of feedback, millionths of a point.
    pub feedback_micro: i64,
    /// Events with feedback.
    pub feedback_n: i64,
    /// Duplicates that were skipped.
    pub duplicates: i64,
    /// Of a log item: its records, which are inserted, duplicates or dead letters.
    pub logged: i64,
    /// Of a log item: records that became raw events.
    pub inserted: i64,
    /// Of a log item: records that became dead letters.
    pub dead_letters: i64,
    /// By model name.
    pub models: BTreeMap<String, ModelUse>,
    /// By tool name.
    pub tools: BTreeMap<String, ToolUse>,
    /// Events by error type.
    pub error_types: BTreeMap<String, i64>,
    /// Five-minute slots (0 to 11); in hour items only.
    pub slots: BTreeMap<u8, Slot>,
    /// Highest offset added per (epoch, partition); only read, never part of additions.
    pub marks: BTreeMap<(u32, u32), u64>,
}

/// The attribute that marks what of a partition an item already holds.
pub fn mark_attribute(epoch: u32, partition: u32) -> String {
    format!("{MARK_PREFIX}{epoch}_{partition}")
}

macro_rules! scalars {
    ($($name:literal => $field:ident),+ $(,)?) => {
        fn scalar(&mut self, name: &str) -> Option<&mut i64> {
            match name {
                $($name => Some(&mut self.$field),)+
                _ => None,
            }
        }

        fn scalars(&self) -> impl Iterator<Item = (&'static str, i64)> {
            [$(($name, self.$field)),+].into_iter()
        }
    };
}

impl Rollup {
    scalars! {
        "calls" => calls,
        "latency_us" => latency_us,
        "latency_n" => latency_n,
        "tokens" => tokens,
        "input_tokens" => input_tokens,
        "output_tokens" => output_tokens,
        "cached_input_tokens" => cached_input_tokens,
        "reasoning_tokens" => reasoning_tokens,
        "cost_nanousd" => cost_nanousd,
        "cost_n" => cost_n,
        "feedback_micro" => feedback_micro,
        "feedback_n" => feedback_n,
        "duplicates" => duplicates,
        "logged" => logged,
        "inserted" => inserted,
        "dead_letters" => dead_letters,
    }

    /// Events of one type.
    pub fn of_type(&self, message_type: MessageType) -> i64 {
        self.by_type[message_type as usize]
    }

    /// Adds another rollup's counters and takes the greater of the maxima. Versions and marks stay.
    pub fn add(&mut self, other: &Self) {
        self.last_at = self.last_at.max(other.last_at);
        self.latency_max_us = self.latency_max_us.max(other.latency_max_us);
        for (name, value) in other.scalars() {
            if value != 0
                && let Some(own) = self.scalar(name)
            {
                *own = own.saturating_add(value);
            }
        }
        for (own, value) in self.by_type.iter_mut().zip(other.by_type) {
            *own += value;
        }
        for (bucket, count) in &other.latency_buckets {
            *self.latency_buckets.entry(*bucket).or_default() += count;
        }
        for (name, theirs) in &other.models {
            let own = entry(&mut self.models, name);
            own.calls += theirs.calls;
            own.tokens = own.tokens.saturating_add(theirs.tokens);
            own.cost_nanousd = own.cost_nanousd.saturating_add(theirs.cost_nanousd);
        }
        for (name, theirs) in &other.tools {
            let own = entry(&mut self.tools, name);
            own.calls += theirs.calls;
            own.latency_us = own.latency_us.saturating_add(theirs.latency_us);
        }
        for (name, count) in &other.error_types {
            *entry(&mut self.error_types, name) += count;
        }
        for (slot, theirs) in &other.slots {
            self.slots.entry(*slot).or_default().add(theirs);
        }
    }

    /// Every counter that is not 0, by its attribute name: what `ADD` takes.
    pub fn counters(&self) -> Vec<(String, i64)> {
        let mut out: Vec<(String, i64)> = self.scalars().map(|(n, v)| (n.to_owned(), v)).collect();
        out.extend(MessageType::ALL.iter().map(|t| (t.name().to_owned(), self.of_type(*t))));
        out.extend(self.latency_buckets.iter().map(|(b, v)| (format!("q{b}"), *v)));
        for (name, m) in &self.models {
            out.push((format!("m#{name}"), m.calls));
            out.push((format!("mt#{name}"), m.tokens));
            out.push((format!("mc#{name}"), m.cost_nanousd));
        }
        for (name, t) in &self.tools {
            out.push((format!("t#{name}"), t.calls));
            out.push((format!("tl#{name}"), t.latency_us));
        }
        out.extend(self.error_types.iter().map(|(name, v)| (format!("e#{name}"), *v)));
        for (s, slot) in &self.slots {
            out.extend(SLOT_COUNTERS.iter().map(|(letter, get)| (format!("f{s}{letter}"), *get(&mut slot.clone()))));
        }
        out.retain(|(_, v)| *v != 0);
        out
    }

    /// Every maximum that is not 0, by its attribute name.
    pub fn maxima(&self) -> Vec<(String, i64)> {
        let mut out = vec![(LAST_AT.to_owned(), self.last_at), (LATENCY_MAX.to_owned(), self.latency_max_us)];
        out.extend(self.slots.iter().map(|(s, slot)| (slot_max_attribute(*s), slot.latency_max_us)));
        out.retain(|(_, v)| *v != 0);
        out
    }

    /// Reads an item. Attributes that are no counters (keys) are passed over. The store counts on beyond 64 bits; what is
    /// read is the largest number then, never none.
    pub fn from_item(item: &HashMap<String, AttributeValue>) -> Self {
        let mut rollup = Self::default();
        for (name, value) in item {
            if let AttributeValue::N(n) = value
                && let Ok(n) = n.parse::<i128>()
            {
                rollup.set_attribute(name, n.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
            }
        }
        rollup
    }

    /// Whether an attribute of this name is read by [`Self::from_item`].
    pub fn has(name: &str) -> bool {
        let mut rollup = Self::default();
        rollup.set_attribute(name, 1);
        rollup != Self::default()
    }

    /// Sets a counter by its attribute name. Other names are passed over.
    pub fn set_counter(&mut self, name: &str, value: i64) {
        self.set_attribute(name, value);
    }

    fn set_attribute(&mut self, name: &str, value: i64) {
        if let Some(own) = self.scalar(name) {
            *own = value;
        } else if let Some(t) = MessageType::parse(name) {
            self.by_type[t as usize] = value;
        } else if let Some((prefix, client_name)) = name.split_once('#') {
            match prefix {
                "m" => entry(&mut self.models, client_name).calls = value,
                "mt" => entry(&mut self.models, client_name).tokens = value,
                "mc" => entry(&mut self.models, client_name).cost_nanousd = value,
                "t" => entry(&mut self.tools, client_name).calls = value,
                "tl" => entry(&mut self.tools, client_name).latency_us = value,
                "e" => *entry(&mut self.error_types, client_name) = value,
                _ => {}
            }
        } else if name == VERSION {
            self.version = value;
        } else if name == LAST_AT {
            self.last_at = value;
        } else if name == LATENCY_MAX {
            self.latency_max_us = value;
        } else if let Some(mark) = name.strip_prefix(MARK_PREFIX) {
            if let Some((epoch, partition)) = mark.split_once('_')
                && let (Ok(epoch), Ok(partition)) = (epoch.parse(), partition.parse())
            {
                self.marks.insert((epoch, partition), value as u64);
            }
        } else if let Some(bucket) = name.strip_prefix('q').and_then(|b| b.parse().ok()) {
            self.latency_buckets.insert(bucket, value);
        } else if let Some((slot, letter)) = name.strip_prefix('f').and_then(|rest| rest.split_at_checked(rest.len() - 1))
            && let Ok(slot) = slot.parse()
        {
            if letter == "x" {
                self.slots.entry(slot).or_default().latency_max_us = value;
            } else if let Some((_, get)) = SLOT_COUNTERS.iter().find(|(l, _)| *l == letter) {
                *get(self.slots.entry(slot).or_default()) = value;
            }
        }
    }

    /// Mean response time in ms; `None` without data.
    pub fn average_latency_ms(&self) -> Option<f64> {
        (self.latency_n > 0).then(|| self.latency_us as f64 / self.latency_n as f64 / 1_000.0)
    }

    /// Mean feedback in points; `None` without data.
    pub fn average_feedback(&self) -> Option<f64> {
        (self.feedback_n > 0).then(|| self.feedback_micro as f64 / self.feedback_n as f64 / 1_000_000.0)
    }
}

type SlotCounter = (&'static str, fn(&mut Slot) -> &mut i64);

const SLOT_COUNTERS: &[SlotCounter] = &[
    ("c", |s| &mut s.calls),
    ("m", |s| &mut s.messages),
    ("e", |s| &mut s.errors),
    ("l", |s| &mut s.latency_us),
    ("n", |s| &mut s.latency_n),
    ("t", |s| &mut s.tokens),
    ("d", |s| &mut s.cost_nanousd),
];

/// The attribute of a five-minute slot's longest response time.
pub fn slot_max_attribute(slot: u8) -> String {
    format!("f{slot}x")
}

impl Slot {
    /// Adds another slot's counters and takes the greater maximum.
    pub fn add(&mut self, other: &Self) {
        let mut other = *other;
        for (_, get) in SLOT_COUNTERS {
            let own = get(self);
            *own = own.saturating_add(*get(&mut other));
        }
        self.latency_max_us = self.latency_max_us.max(other.latency_max_us);
    }
}

fn entry<'a, V: Default>(map: &'a mut BTreeMap<String, V>, name: &str) -> &'a mut V {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), V::default());
    }
    map.get_mut(name).expect("inserted above")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_beyond_64_bits_are_the_largest_number_and_never_nothing() {
        let stored = [("cost_nanousd", "9300000000000000000"), ("mc#m", "18000000000000000000"), ("calls", "9300")];
        let item = stored.map(|(name, n)| (name.to_owned(), AttributeValue::N(n.into()))).into_iter().collect();
        let mut r = Rollup::from_item(&item);
        assert_eq!((r.calls, r.cost_nanousd, r.models["m"].cost_nanousd), (9_300, i64::MAX, i64::MAX));
        r.add(&r.clone());
        assert_eq!((r.calls, r.cost_nanousd, r.models["m"].cost_nanousd), (18_600, i64::MAX, i64::MAX));
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut r = Rollup {
            last_at: 9,
            calls: 3,
            latency_us: 7,
            latency_n: 1,
            latency_max_us: 7,
            cost_nanousd: 5,
            cost_n: 1,
            ..Rollup::default()
        };
        r.by_type[MessageType::Error as usize] = 2;
        r.latency_buckets.insert(49, 1);
        r.models.insert("a#b".into(), ModelUse { calls: 1, tokens: 2, cost_nanousd: 3 });
        r.tools.insert("mark_0_1".into(), ToolUse { calls: 1, latency_us: 4 });
        r.error_types.insert("q49".into(), 2);
        r.slots.insert(11, Slot { calls: 3, errors: 2, latency_us: 7, latency_n: 1, latency_max_us: 7, ..Slot::default() });
        assert!(["calls", "q49", "f3x", "m#a", "mark_0_1", "version", "last_at"].into_iter().all(Rollup::has));
        assert!(!["corrected_by", "agent_id", "filled_at", "calls_of_tomorrow"].into_iter().any(Rollup::has));
        let item = r.counters().into_iter().chain(r.maxima()).map(|(k, v)| (k, AttributeValue::N(v.to_string()))).collect();
        assert_eq!(Rollup::from_item(&item), r);
        let mut twice = r.clone();
        twice.add(&r);
        assert_eq!((twice.calls, twice.last_at, twice.slots[&11].latency_max_us, twice.models["a#b"].tokens), (6, 9, 7, 4));
    }
}
