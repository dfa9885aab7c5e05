//! The DynamoDB tables: every key and every item, spelled once.
//!
//! | item | partition key `agent_id` | sort key | content |
//! |---|---|---|---|
//! | event | agent, or `agent~shard` | `timestamp` = `2026-11-23T07:15:03.123456Z#<event_id>` | the contract's fields, `src` |
//! | day | agent | `date` = `2026-11-23` | [`crate::rollup::Rollup`] |
//! | hour | `agent#hour` | `2026-11-23T07` | the same with five-minute slots |
//! | users | `agent#users` | `2026-11-23` | `set` ([`crate::users::UserSet`]), `version` |
//! | fleet | `*~<partition>`, `*~<partition>#hour`, `*~<partition>#users` | as above | the same over all agents |
//! | log | `#log~<partition>` | day of append | what became of the records: [`crate::rollup::Rollup::logged`] and its parts |
//! | deleted event | as the event | `src`, `ttl` and that it is deleted ([`marker_of_deleted`]) |
//! | directory | `#agents~<hash of agent mod 64>` | agent | `first_seen` |
//! | control | `kind` | `id` | checkpoints, API keys, shard plans, table records |
//!
//! `aggregator rebuild` makes a further version of the metrics table beside the first ([`kind::METRICS_TABLES`]).

use crate::event::{AgentEvent, MessageType};
use crate::size::{WRITE_UNIT_BYTES, item_size, write_units};
use crate::time::{day_of, format_day, format_hour, format_micros, parse_micros};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Partition key of the events and metrics tables.
pub const AGENT_ID: &str = "agent_id";
/// Sort key of the events table.
pub const TIMESTAMP: &str = "timestamp";
/// Sort key of the metrics table.
pub const DATE: &str = "date";
/// Partition key of the control table.
pub const KIND: &str = "kind";
/// Sort key of the control table.
pub const ID: &str = "id";
/// Where an event was in the log when it was inserted: `epoch:partition:offset`.
pub const SRC: &str = "src";
/// When DynamoDB may delete the event, seconds since the epoch.
pub const TTL: &str = "ttl";
/// Of a deleted event: true. The rest of its item is gone ([`marker_of_deleted`]).
pub const DELETED: &str = "deleted";
/// Of a rollup: the id of the deletion that it was last corrected by; text, so that it is no counter.
pub const CORRECTED_BY: &str = "corrected_by";
/// See [`crate::identity::content_hash`]; only where the client chose the event id.
pub const CONTENT_HASH: &str = "content_hash";
/// The set of a users item.
pub const USER_SET: &str = "set";
/// Partition key of [`MESSAGE_TYPE_INDEX`]: `type#day#shard`.
pub const TYPE_KEY: &str = "type_key";
/// When an agent was first seen, µs since the epoch.
pub const FIRST_SEEN: &str = "first_seen";
/// Sparse index of events by type, day and shard; keys only.
pub const MESSAGE_TYPE_INDEX: &str = "MessageTypeIndex";
/// Sparse index of events by `conversation_id`; keys only.
pub const CONVERSATION_INDEX: &str = "ConversationIndex";
/// Attribute and partition key of [`CONVERSATION_INDEX`].
pub const CONVERSATION_ID: &str = "conversation_id";
/// Shards per type and day of [`MESSAGE_TYPE_INDEX`].
pub const TYPE_SHARDS: u32 = 8;
/// Partitions of the directory.
pub const DIRECTORY_SHARDS: u32 = 64;

/// Of a checkpoint: write units that its partition has cost, as the store reported them.
pub const WRITE_UNITS: &str = "write_units";
/// Of a checkpoint: the records that were finished for [`WRITE_UNITS`].
pub const WRITE_UNITS_RECORDS: &str = "write_units_records";
/// Of a checkpoint: since when [`WRITE_UNITS`] are counted, ms since the epoch.
pub const WRITE_UNITS_SINCE: &str = "write_units_since_ms";

/// Of an import: whether it is [`IMPORT_UNDER_WAY`] or [`IMPORT_DONE`].
pub const IMPORT_STATE: &str = "state";
/// Tables are half filled: nothing may be counted into them.
pub const IMPORT_UNDER_WAY: &str = "under_way";
/// Tables are filled.
pub const IMPORT_DONE: &str = "done";
/// Of an import: the lowest epoch of a log that may be counted into its tables, since marks and `src` name positions of logs
/// before it.
pub const LEAST_EPOCH: &str = "least_epoch";

/// Kinds of items in the control table.
pub mod kind {
    /// Last committed position of a topic's partition; id `<topic>:<partition>`.
    pub const CHECKPOINT: &str = "checkpoint";
    /// A partition that stopped; id `<topic>:<partition>`. Over once the partition is committed beyond it.
    pub const STOPPED: &str = "stopped";
    /// An API key; id is the key's id.
    pub const API_KEY: &str = "api_key";
    /// A sign-in session; id is the hash of its token.
    pub const SESSION: &str = "session";
    /// Our record of a table of ours; id is the table's name.
    pub const TABLE: &str = "table";
    /// How an agent's raw events are sharded; id is `<agent>:<from>`.
    pub const SHARD_PLAN: &str = "shard_plan";
    /// Events that an operator let go uncounted; id is `<topic>:<partition>:<from>`.
    pub const ACCEPTED_LOSS: &str = "accepted_loss";
    /// An import into these tables, under way or done; id is the export's.
    pub const IMPORT: &str = "import";
    /// Which versions of the metrics table there are; id is the name that the services are configured with.
    pub const METRICS_TABLES: &str = "metrics_tables";
    /// From where on a partition is counted into a version that is being rebuilt; id is `<version>:<topic>:<partition>`.
    pub const REBUILD_FROM: &str = "rebuild_from";
    /// A partition that has begun anew since numbers were lowered; id is `<topic>:<partition>`.
    pub const BEGUN: &str = "begun";
    /// Events of an agent or a user that were deleted; id is the deletion's.
    pub const DELETION: &str = "deletion";
    /// What a deletion subtracted from one day's rollup; id is `<deletion>#<rollup's partition key>#<day>`.
    pub const CORRECTION: &str = "correction";
    /// Stored events were priced anew; id is the version of the metrics table that was rebuilt with it.
    pub const REPRICED: &str = "repriced";
}

/// Longest content that is compressed, and that is unpacked: twice what the gateway takes.
const UNPACKED_BYTES: usize = 512 * 1024;

/// Attributes by name, as a table holds them.
pub type Item = HashMap<String, AttributeValue>;

/// Names of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNames {
    /// Raw events.
    pub events: String,
    /// Rollups, users, directory.
    pub metrics: String,
    /// Checkpoints, keys and our own records.
    pub control: String,
}

impl Default for TableNames {
    fn default() -> Self {
        Self { events: "ai-agent-events".into(), metrics: "ai-agent-metrics".into(), control: "ai-agent-control".into() }
    }
}

/// A stable 32-bit hash, for shards.
pub fn stable_hash(text: &str) -> u32 {
    let digest = Sha256::digest(text.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// A string attribute.
pub fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number attribute.
pub fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Whose rollup: an agent's or the part of the fleet's that one log partition writes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// One agent.
    Agent(std::sync::Arc<str>),
    /// All agents of one log partition.
    Fleet(u32),
    /// The records of one log partition, by the day of their append: what became of them.
    Log(u32),
}

/// A rollup or users item of the metrics table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricKey {
    /// Whose.
    pub subject: Subject,
    /// Which.
    pub period: Period,
}

/// Which of a subject's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// The rollup of a day number.
    Day(i32),
    /// The rollup of an hour number.
    Hour(i32),
    /// The users of a day number.
    Users(i32),
}

impl Period {
    /// The day that it is, or is in.
    pub fn day(self) -> i32 {
        match self {
            Self::Day(day) | Self::Users(day) => day,
            Self::Hour(hour) => hour.div_euclid(24),
        }
    }
}

impl MetricKey {
    /// The value of the partition key.
    pub fn partition_key(&self) -> String {
        let suffix = match self.period {
            Period::Day(_) => "",
            Period::Hour(_) => "#hour",
            Period::Users(_) => "#users",
        };
        match &self.subject {
            Subject::Agent(agent) => format!("{agent}{suffix}"),
            Subject::Fleet(partition) => format!("*~{partition}{suffix}"),
            Subject::Log(partition) => format!("#log~{partition}{suffix}"),
        }
    }

    /// The value of the sort key.
    pub fn sort_key(&self) -> String {
        match self.period {
            Period::Day(day) | Period::Users(day) => format_day(day),
            Period::Hour(hour) => format_hour(hour),
        }
    }

    /// Both key attributes.
    pub fn key(&self) -> HashMap<String, AttributeValue> {
        HashMap::from([(AGENT_ID.into(), s(self.partition_key())), (DATE.into(), s(self.sort_key()))])
    }
}

/// The directory's partition key for an agent.
pub fn directory_partition(agent_id: &str) -> String {
    format!("#agents~{}", stable_hash(agent_id) % DIRECTORY_SHARDS)
}

/// The sort key of an event.
pub fn event_sort_key(timestamp: i64, event_id: &str) -> String {
    format!("{}#{event_id}", format_micros(timestamp))
}

/// Splits an event's sort key into its time (µs) and event id.
pub fn parse_event_sort_key(sort_key: &str) -> Option<(i64, &str)> {
    let (time, id) = sort_key.split_once('#')?;
    Some((parse_micros(time)?, id))
}

/// The partition key of [`MESSAGE_TYPE_INDEX`] for events of that type, day and shard.
pub fn type_key(message_type: MessageType, day: i32, shard: u32) -> String {
    format!("{}#{}#{shard}", message_type.name(), format_day(day))
}

/// From when on, by the event's own timestamp, an agent's raw events are spread over how many keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardPlan {
    /// µs since the epoch.
    pub from: i64,
    /// Number of keys; at least 1.
    pub shards: u32,
}

/// The partition key of an event: the agent, or `agent~shard` under the newest plan that covers its timestamp.
pub fn event_partition_key(agent_id: &str, timestamp: i64, event_id: &str, plans: &[ShardPlan]) -> String {
    match plans.iter().filter(|p| p.from <= timestamp).max_by_key(|p| p.from) {
        Some(plan) if plan.shards > 1 => format!("{agent_id}~{}", stable_hash(event_id) % plan.shards),
        _ => agent_id.to_owned(),
    }
}

/// Every partition key under which events of an agent between two times (µs, inclusive) can be.
pub fn event_partition_keys(agent_id: &str, from: i64, to: i64, plans: &[ShardPlan]) -> Vec<String> {
    let mut plans = plans.to_vec();
    plans.sort_by_key(|p| p.from);
    let mut keys = Vec::new();
    let mut shards = 1;
    let starts = std::iter::once((i64::MIN, 1)).chain(plans.iter().map(|p| (p.from, p.shards)));
    let ends = plans.iter().map(|p| p.from).chain(std::iter::once(i64::MAX));
    let mut is_plain = false;
    for ((start, count), end) in starts.zip(ends) {
        if start <= to && end > from {
            if count > 1 {
                shards = shards.max(count);
            } else {
                is_plain = true;
            }
        }
    }
    if is_plain {
        keys.push(agent_id.to_owned());
    }
    if shards > 1 {
        keys.extend((0..shards).map(|shard| format!("{agent_id}~{shard}")));
    }
    keys
}

/// What decides how an event is stored.
#[derive(Clone, Debug, Default)]
pub struct EventItemOptions {
    /// Types that [`MESSAGE_TYPE_INDEX`] holds.
    pub indexed_types: Vec<MessageType>,
    /// Seconds since the epoch after which DynamoDB may delete the event.
    pub ttl: Option<i64>,
}

/// The attributes of an event's item, keys first. `partition_key` from [`event_partition_key`], `src` as
/// `epoch:partition:offset`.
pub fn event_attributes(
    event: &AgentEvent,
    partition_key: &str,
    src: &str,
    options: &EventItemOptions,
) -> Vec<(&'static str, AttributeValue)> {
    let mut item: Vec<(&'static str, AttributeValue)> = Vec::with_capacity(16);
    item.push((AGENT_ID, s(partition_key)));
    item.push((TIMESTAMP, s(event_sort_key(event.timestamp, &event.event_id))));
    item.push((SRC, s(src)));
    item.push(("message_type", s(event.message_type.name())));
    if !event.event_id.starts_with("d1.") {
        item.push((CONTENT_HASH, AttributeValue::B(Blob::new(event.content_hash))));
    }
    let texts = [
        ("metadata", &event.metadata),
        ("error_details", &event.error_details),
        ("model_used", &event.model_used),
        ("user_id", &event.user_id),
        ("session_id", &event.session_id),
        (CONVERSATION_ID, &event.conversation_id),
        ("trace_id", &event.trace_id),
        ("span_id", &event.span_id),
        ("parent_span_id", &event.parent_span_id),
        ("tool_name", &event.tool_name),
        ("error_type", &event.error_type),
    ];
    item.extend(texts.into_iter().filter_map(|(name, text)| text.as_ref().map(|t| (name, s(t)))));
    let whole = [
        ("token_count", event.token_count),
        ("input_tokens", event.input_tokens),
        ("output_tokens", event.output_tokens),
        ("cached_input_tokens", event.cached_input_tokens),
        ("reasoning_tokens", event.reasoning_tokens),
    ];
    item.extend(whole.into_iter().filter_map(|(name, number)| number.map(|v| (name, n(v)))));
    let fractions = [("response_time_ms", event.response_time_ms), ("user_feedback", event.user_feedback), ("cost_usd", event.cost_usd)];
    item.extend(fractions.into_iter().filter_map(|(name, number)| number.map(|v| (name, n(v)))));
    if event.cost_estimated {
        item.push(("cost_estimated", AttributeValue::Bool(true)));
    }
    if options.indexed_types.contains(&event.message_type) {
        let shard = stable_hash(&event.agent_id) % TYPE_SHARDS;
        item.push((TYPE_KEY, s(type_key(event.message_type, day_of(event.timestamp), shard))));
    }
    if let Some(ttl) = options.ttl {
        item.push((TTL, n(ttl)));
    }
    if let Some(content) = &event.content {
        item.push(content_attribute(content, item_size(item.iter().map(|(k, v)| (*k, v)))));
    }
    item
}

/// The content as text, or compressed where that saves a write unit and the whole can be unpacked again.
fn content_attribute(content: &str, rest_bytes: usize) -> (&'static str, AttributeValue) {
    let plain = rest_bytes + "content".len() + content.len();
    if plain > WRITE_UNIT_BYTES
        && content.len() <= UNPACKED_BYTES
        && let Ok(packed) = zstd::bulk::compress(content.as_bytes(), 3)
        && write_units(rest_bytes + "content_zstd".len() + packed.len()) < write_units(plain)
    {
        return ("content_zstd", AttributeValue::B(Blob::new(packed)));
    }
    ("content", s(content))
}

/// What is left of an event's item when it is deleted: its key and its position, so that a replay of its record or a client's
/// repeat finds it and is not counted again. It does not say which other events went with it. [`event_of_item`] finds no event in it.
pub fn marker_of_deleted(item: &Item) -> Item {
    let kept = [AGENT_ID, TIMESTAMP, SRC, TTL];
    let mut marker: Item = item.iter().filter(|(name, _)| kept.contains(&name.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    marker.insert(DELETED.to_owned(), AttributeValue::Bool(true));
    marker
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// The event; `content_hash` is zero where the item has none.
    pub event: AgentEvent,
    /// `epoch:partition:offset` of its insert.
    pub src: Option<String>,
}

/// Reads an event's item; `None` where it is none of ours.
pub fn event_of_item(item: &HashMap<String, AttributeValue>) -> Option<StoredEvent> {
    let text = |name: &str| item.get(name).and_then(|v| v.as_s().ok()).cloned();
    let whole = |name: &str| item.get(name).and_then(|v| v.as_n().ok()).and_then(|v| v.parse::<i64>().ok());
    let fraction = |name: &str| item.get(name).and_then(|v| v.as_n().ok()).and_then(|v| v.parse::<f64>().ok());
    let partition_key = text(AGENT_ID)?;
    let agent_id = partition_key.split('~').next()?;
    let sort_key = text(TIMESTAMP)?;
    let (timestamp, event_id) = parse_event_sort_key(&sort_key)?;
    let mut event = AgentEvent::new(agent_id, timestamp, event_id, MessageType::parse(&text("message_type")?)?);
    if let Some(Ok(hash)) = item.get(CONTENT_HASH).map(AttributeValue::as_b) {
        event.content_hash = hash.as_ref().try_into().ok()?;
    }
    event.content = match item.get("content_zstd") {
        Some(AttributeValue::B(packed)) => {
            let bytes = zstd::bulk::decompress(packed.as_ref(), UNPACKED_BYTES).ok()?;
            Some(String::from_utf8(bytes).ok()?)
        }
        _ => text("content"),
    };
    event.metadata = text("metadata");
    event.error_details = text("error_details");
    event.response_time_ms = fraction("response_time_ms");
    event.token_count = whole("token_count");
    event.model_used = text("model_used");
    event.user_feedback = fraction("user_feedback");
    event.user_id = text("user_id");
    event.session_id = text("session_id");
    event.conversation_id = text(CONVERSATION_ID);
    event.trace_id = text("trace_id");
    event.span_id = text("span_id");
    event.parent_span_id = text("parent_span_id");
    event.tool_name = text("tool_name");
    event.error_type = text("error_type");
    event.input_tokens = whole("input_tokens");
    event.output_tokens = whole("output_tokens");
    event.cached_input_tokens = whole("cached_input_tokens");
    event.reasoning_tokens = whole("reasoning_tokens");
    event.cost_usd = fraction("cost_usd");
    event.cost_estimated = matches!(item.get("cost_estimated"), Some(AttributeValue::Bool(true)));
    Some(StoredEvent { event, src: text(SRC) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> AgentEvent {
        let mut e = AgentEvent::new("team/bot", 1_767_781_800_123_456, "e-1", MessageType::Error);
        e.content = Some("x".repeat(5_000));
        e.content_hash = [7; 16];
        e.response_time_ms = Some(12.5);
        e.token_count = Some(1_000_000_000_000);
        e.metadata = Some(r#"{"a":null}"#.into());
        e.cost_usd = Some(0.000_000_1);
        e
    }

    #[test]
    fn an_event_comes_back_as_it_was_stored() {
        let options = EventItemOptions { indexed_types: vec![MessageType::Error], ttl: Some(5) };
        let item: HashMap<_, _> =
            event_attributes(&event(), "team/bot~3", "0:1:2", &options).into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        assert!(item.contains_key("content_zstd") && item.contains_key(TYPE_KEY));
        assert_eq!(event_of_item(&item), Some(StoredEvent { event: event(), src: Some("0:1:2".into()) }));
    }

    #[test]
    fn content_is_compressed_only_where_that_saves_a_write_unit() {
        assert_eq!(content_attribute(&"x".repeat(5_000), 100).0, "content_zstd");
        assert_eq!(content_attribute(&"x".repeat(500), 100).0, "content");
        assert_eq!(content_attribute(&"x".repeat(900), 1_100).0, "content");
    }

    /// From another producer than the gateway, whose events are smaller.
    #[test]
    fn content_of_any_length_is_read_back_as_it_was() {
        for length in [UNPACKED_BYTES, UNPACKED_BYTES + 1] {
            let long = AgentEvent { content: Some("x".repeat(length)), ..event() };
            let attributes = event_attributes(&long, "team/bot", "0:1:2", &EventItemOptions::default());
            let item = attributes.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            assert_eq!(event_of_item(&item).map(|stored| stored.event), Some(long), "{length}");
        }
    }

    #[test]
    fn keys_of_different_items_never_meet() {
        let key = |subject, period| {
            let k = MetricKey { subject, period };
            (k.partition_key(), k.sort_key())
        };
        assert_eq!(key(Subject::Agent("a".into()), Period::Day(0)), ("a".into(), "1970-01-01".into()));
        assert_eq!(key(Subject::Agent("a".into()), Period::Hour(25)), ("a#hour".into(), "1970-01-02T01".into()));
        assert_eq!(key(Subject::Fleet(3), Period::Users(0)), ("*~3#users".into(), "1970-01-01".into()));
        assert_eq!(key(Subject::Log(3), Period::Day(0)), ("#log~3".into(), "1970-01-01".into()));
    }

    #[test]
    fn sharded_events_are_found_again() {
        let plans = [ShardPlan { from: 100, shards: 4 }, ShardPlan { from: 200, shards: 8 }];
        assert_eq!(event_partition_key("a", 99, "e", &plans), "a");
        for (from, to) in [(0, 99), (100, 150), (50, 150), (150, 300), (0, 300)] {
            let keys = event_partition_keys("a", from, to, &plans);
            for t in from..=to {
                assert!(keys.contains(&event_partition_key("a", t, &format!("e{t}"), &plans)), "{t} {keys:?}");
            }
        }
    }
}
