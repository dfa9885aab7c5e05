//! What counting costs: DynamoDB write units per event, computed from the items themselves.
//!
//! The same fold, the same items and the same sizes as in production; only the store is left out. A test
//! compares the sum with what an engine reports as consumed.

use crate::fold;
use schemas::item::{EventItemOptions, MetricKey, Period, Subject, event_attributes};
use schemas::rollup::{Rollup, VERSION, mark_attribute};
use schemas::size::{DOLLARS_PER_MILLION_WRITE_UNITS, item_size, write_units};
use schemas::time::{DAY_US, day_of, hour_of};
use schemas::users::{UserSet, user_hash};
use schemas::{AgentEvent, MessageType};
use std::collections::HashMap;

/// A workload whose cost is asked for: one day of agents that all flush alike.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Number of agents; they share the fleet's items.
    pub agents: u32,
    /// Events of one agent per flush.
    pub events_per_flush: u32,
    /// Flushes of each agent, spread over the day.
    pub flushes: u32,
    /// Length of the content, bytes.
    pub content_bytes: usize,
}

/// Write units by what they are spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteUnits {
    /// Number of events.
    pub events: u64,
    /// Raw events.
    pub raw: u64,
    /// Entries of the index by type.
    pub index: u64,
    /// Agents' day and hour items.
    pub agent_items: u64,
    /// The fleet's day and hour items.
    pub fleet_items: u64,
    /// Users items.
    pub users: u64,
    /// Directory entries.
    pub directory: u64,
}

impl WriteUnits {
    /// All write units.
    pub fn total(&self) -> u64 {
        self.raw + self.index + self.agent_items + self.fleet_items + self.users + self.directory
    }

    /// Write units per 1,000 events.
    pub fn per_thousand(&self) -> f64 {
        self.total() as f64 * 1_000.0 / self.events as f64
    }

    /// US dollars per million events.
    pub fn dollars_per_million(&self) -> f64 {
        self.total() as f64 / self.events as f64 * DOLLARS_PER_MILLION_WRITE_UNITS
    }
}

/// The `i`-th event of a workload's agent: 5 % errors, two models, a few tools, users that come back.
pub fn event_of(workload: &Workload, agent: u32, i: u32, timestamp: i64) -> AgentEvent {
    // Weyl sequence: spread without a generator's state.
    let spread = |salt: u32, below: u32| (i.wrapping_mul(0x9E37_79B1).wrapping_add(salt.wrapping_mul(0x85EB_CA6B)) >> 8) % below;
    let message_type = match i % 20 {
        0 => MessageType::Error,
        n if n % 3 == 0 => MessageType::ToolCall,
        n if n % 2 == 0 => MessageType::UserMessage,
        _ => MessageType::AgentResponse,
    };
    let mut e = AgentEvent::new(
        format!("support-agent-{agent:03}"),
        timestamp,
        format!("d1.{:022}", u64::from(agent) << 32 | u64::from(i)),
        message_type,
    );
    e.content = Some("x".repeat(workload.content_bytes));
    e.user_id = Some(format!("user-{:05}", spread(1, 400)));
    e.conversation_id = Some(format!("conversation-{:06}", i / 8));
    match message_type {
        MessageType::AgentResponse => {
            e.model_used = Some(["gpt-5-mini", "claude-sonnet-4-5"][spread(2, 2) as usize].into());
            e.response_time_ms = Some(300.0 * (1.0 + f64::from(spread(3, 1_000)) / 60.0));
            e.input_tokens = Some(i64::from(200 + spread(4, 3_000)));
            e.output_tokens = Some(i64::from(50 + spread(5, 600)));
            e.token_count = e.input_tokens.zip(e.output_tokens).map(|(a, b)| a + b);
            e.cost_usd = e.token_count.map(|t| t as f64 * 2e-6);
            e.cost_estimated = true;
        }
        MessageType::ToolCall => {
            e.tool_name = Some(format!("tool-{}", spread(6, 4)));
            e.response_time_ms = Some(20.0 + f64::from(spread(7, 800)));
        }
        MessageType::Error => e.error_type = Some(["RateLimitError", "TimeoutError"][spread(8, 2) as usize].into()),
        _ => {}
    }
    e
}

/// Write units of a workload.
pub fn write_units_of(workload: &Workload) -> WriteUnits {
    let mut spent = WriteUnits::default();
    let mut items: HashMap<MetricKey, Rollup> = HashMap::new();
    let mut users: HashMap<Subject, UserSet> = HashMap::new();
    let options = EventItemOptions { indexed_types: vec![MessageType::Error, MessageType::Feedback], ttl: None };
    spent.directory = u64::from(workload.agents);
    for flush in 0..workload.flushes {
        let timestamp = DAY_US * 20_000 + i64::from(flush) * (DAY_US / i64::from(workload.flushes));
        let fleet = Subject::Fleet(0);
        let mut fleet_sum = Rollup::default();
        let mut fleet_changed = false;
        for agent in 0..workload.agents {
            let name: std::sync::Arc<str> = format!("support-agent-{agent:03}").into();
            let mut sum = Rollup::default();
            let mut changed = false;
            for n in 0..workload.events_per_flush {
                let e = event_of(workload, agent, flush * workload.events_per_flush + n, timestamp);
                spent.events += 1;
                let item = event_attributes(&e, &e.agent_id, "0:0:1234567", &options);
                spent.raw += write_units(item_size(item.iter().map(|(k, v)| (*k, v))));
                spent.index += u64::from(options.indexed_types.contains(&e.message_type));
                fold::add(&mut sum, &fold::fold(&e), true);
                if let Some(user) = &e.user_id {
                    changed |= users.entry(Subject::Agent(name.clone())).or_default().insert(user_hash(user));
                    fleet_changed |= users.entry(fleet.clone()).or_default().insert(user_hash(user));
                }
            }
            fleet_sum.add(&sum);
            let subject = Subject::Agent(name);
            spent.agent_items += add_to_items(&mut items, &subject, timestamp, &sum);
            if changed {
                spent.users += users_units(&users, &subject, timestamp);
            }
        }
        spent.fleet_items += add_to_items(&mut items, &fleet, timestamp, &fleet_sum);
        spent.fleet_items += add_records(&mut items, timestamp, fleet_sum.calls);
        if fleet_changed {
            spent.users += users_units(&users, &fleet, timestamp);
        }
    }
    spent
}

/// Adds a flush to a subject's day and hour; returns the write units of both updates.
fn add_to_items(items: &mut HashMap<MetricKey, Rollup>, subject: &Subject, timestamp: i64, sum: &Rollup) -> u64 {
    [Period::Day(day_of(timestamp)), Period::Hour(hour_of(timestamp))]
        .into_iter()
        .map(|period| {
            let key = MetricKey { subject: subject.clone(), period };
            let item = items.entry(key.clone()).or_default();
            let mut sum = sum.clone();
            if matches!(period, Period::Day(_)) {
                sum.slots.clear();
            }
            item.add(&sum);
            item.version += 1;
            write_units(rollup_size(&key, item))
        })
        .sum()
}

/// Adds a flush's records to the log's own item; returns the write units of the update.
fn add_records(items: &mut HashMap<MetricKey, Rollup>, timestamp: i64, records: i64) -> u64 {
    let key = MetricKey { subject: Subject::Log(0), period: Period::Day(day_of(timestamp)) };
    let item = items.entry(key.clone()).or_default();
    item.add(&Rollup { logged: records, inserted: records, ..Rollup::default() });
    item.version += 1;
    write_units(rollup_size(&key, item))
}

/// Bytes of a rollup item.
pub fn rollup_size(key: &MetricKey, rollup: &Rollup) -> usize {
    let number = |n: i64| schemas::size::value_size(&schemas::item::n(n));
    let attributes = rollup.counters().into_iter().chain(rollup.maxima());
    item_size(key.key().iter().map(|(k, v)| (k.as_str(), v)))
        + attributes.map(|(name, value)| name.len() + number(value)).sum::<usize>()
        + VERSION.len()
        + number(rollup.version)
        + mark_attribute(0, 0).len()
        + number(1_234_567)
}

fn users_units(users: &HashMap<Subject, UserSet>, subject: &Subject, timestamp: i64) -> u64 {
    let key = MetricKey { subject: subject.clone(), period: Period::Users(day_of(timestamp)) };
    let keys = item_size(key.key().iter().map(|(k, v)| (k.as_str(), v)));
    write_units(keys + schemas::item::USER_SET.len() + users.get(subject).map_or(0, |s| s.to_bytes().len()) + VERSION.len() + 2)
}

/// The table of the README: write units and dollars by events per agent and flush.
pub fn table() -> String {
    use std::fmt::Write as _;
    let mut out = String::from(
        "| events per agent and flush | write units per 1,000 events | dollars per million events | raw | index | agent items | fleet items | users |\n|---|---|---|---|---|---|---|---|\n",
    );
    for events_per_flush in [1, 5, 12, 25] {
        let spent = write_units_of(&Workload { agents: 40, events_per_flush, flushes: 288, content_bytes: 300 });
        let share = |units: u64| units as f64 * 1_000.0 / spent.events as f64;
        writeln!(
            out,
            "| {events_per_flush} | {:.0} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
            spent.per_thousand(),
            spent.dollars_per_million(),
            share(spent.raw),
            share(spent.index),
            share(spent.agent_items),
            share(spent.fleet_items),
            share(spent.users)
        )
        .expect("writing to a string cannot fail");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stdout, reason = "the README has this test print the table")]
    fn twenty_five_events_per_flush_stay_below_the_cost_target() {
        println!("{}", table());
        let spent = write_units_of(&Workload { agents: 40, events_per_flush: 25, flushes: 288, content_bytes: 300 });
        assert!(spent.per_thousand() <= 1_350.0, "{spent:?}: {}", spent.per_thousand());
    }
}
