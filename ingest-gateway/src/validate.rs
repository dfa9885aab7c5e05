//! From an event's JSON text to an [`AgentEvent`], or to every reason why it is none. The contract's rules for
//! events live here and nowhere else. Pure: the clock's reading comes in with [`Rules`].

use crate::fields::{Fields, NoFields, kind};
use crate::metadata;
use schemas::agent_id;
use schemas::identity::{content_hash, is_valid_event_id};
use schemas::price::PriceTable;
use schemas::problem::FieldError;
use schemas::time::{DAY_US, format_micros, parse_client_time};
use schemas::{AgentEvent, AgentId, MessageType};
use serde_json::{Map, Value};
use uuid::Uuid;

/// Bytes of an event's JSON text.
pub(crate) const MAX_EVENT_BYTES: usize = 256 * 1024;
/// Characters of an id.
pub(crate) const MAX_ID: usize = 256;
/// Characters of a name.
pub(crate) const MAX_NAME: usize = 128;
/// Tokens of any kind.
pub(crate) const MAX_COUNT: i64 = 1_000_000_000_000;
const MAX_RESPONSE_TIME_MS: f64 = 1e9;
const MAX_COST_USD: f64 = 1e6;
/// 2000-01-01T00:00:00Z.
const EARLIEST_US: i64 = 946_684_800_000_000;
/// How far a client's clock may be ahead of ours.
const AHEAD_US: i64 = 600_000_000;

/// The contract's fields; anything else at the top level is unknown.
const KNOWN: [&str; 24] = [
    "agent_id",
    "event_id",
    "timestamp",
    "message_type",
    "content",
    "metadata",
    "error_details",
    "response_time_ms",
    "token_count",
    "model_used",
    "user_feedback",
    "user_id",
    "session_id",
    "conversation_id",
    "trace_id",
    "span_id",
    "parent_span_id",
    "tool_name",
    "error_type",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "cost_usd",
];

/// What an event is judged by besides its text.
#[derive(Clone, Debug)]
pub(crate) struct Rules<'a> {
    /// The server's clock, µs since the epoch.
    pub(crate) now: i64,
    /// With retention on, events older than this many days less one are refused.
    pub(crate) retention_days: Option<u32>,
    /// Whether unknown fields are refused instead of kept under `metadata`.
    pub(crate) is_strict: bool,
    /// What tokens cost.
    pub(crate) prices: &'a PriceTable,
    /// The agent that the path names; wins over the body's.
    pub(crate) agent: Option<&'a AgentId>,
}

/// How an event comes to its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdSource {
    /// The client gave it.
    Client,
    /// The server made it, together with the timestamp or because the timestamp is too coarse to tell a repeat.
    Fresh,
    /// It follows from the content and the ordinal among equal events of the request; not set yet.
    Content,
}

/// A valid event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Valid {
    /// The event; without its id where [`IdSource::Content`] says so.
    pub(crate) event: AgentEvent,
    /// Where its id comes from.
    pub(crate) id_source: IdSource,
}

/// Judges the event at `index` of its request. `key_id` is the event id that an `Idempotency-Key` stands for.
pub(crate) fn validate(index: usize, text: &str, key_id: Option<&str>, rules: &Rules<'_>) -> Result<Valid, Refused> {
    if text.len() > MAX_EVENT_BYTES {
        return Err(Refused::of(index, format!("is larger than {} KiB", MAX_EVENT_BYTES / 1024)));
    }
    let mut fields = match Fields::read(index, text) {
        Ok(fields) => fields,
        Err(reason) => return Err(Refused { is_json: !matches!(reason, NoFields::NotJson(_)), ..Refused::of(index, reason.to_string()) }),
    };
    let hash = content_hash(fields.values());
    let agent = read_agent(&mut fields, rules.agent);
    let (event_id, timestamp, id_source) = read_identity(&mut fields, key_id, rules);
    let message_type = read_message_type(&mut fields);

    let mut event = AgentEvent::new(agent, timestamp, event_id, message_type.unwrap_or(MessageType::CustomMetric));
    event.content_hash = hash;
    event.content = fields.text("content");
    event.error_details = fields.text("error_details");
    event.response_time_ms = fields.number("response_time_ms", 0.0, MAX_RESPONSE_TIME_MS);
    event.token_count = fields.count("token_count", MAX_COUNT);
    event.model_used = fields.name("model_used", MAX_NAME);
    event.user_feedback = fields.number("user_feedback", 1.0, 5.0);
    event.user_id = fields.name("user_id", MAX_ID);
    event.session_id = fields.name("session_id", MAX_ID);
    event.conversation_id = fields.name("conversation_id", MAX_ID);
    event.trace_id = fields.name("trace_id", MAX_ID);
    event.span_id = fields.name("span_id", MAX_ID);
    event.parent_span_id = fields.name("parent_span_id", MAX_ID);
    event.tool_name = fields.name("tool_name", MAX_NAME);
    event.error_type = fields.name("error_type", MAX_NAME);
    event.input_tokens = fields.count("input_tokens", MAX_COUNT);
    event.output_tokens = fields.count("output_tokens", MAX_COUNT);
    event.cached_input_tokens = fields.count("cached_input_tokens", MAX_COUNT);
    event.reasoning_tokens = fields.count("reasoning_tokens", MAX_COUNT);
    event.cost_usd = fields.number("cost_usd", 0.0, MAX_COST_USD);
    read_metadata(&mut fields, &mut event, rules.is_strict);

    if fields.is_faulty() {
        return Err(Refused { errors: fields.into_errors(), is_json: true });
    }
    fill_defaults(&mut event, rules.prices);
    Ok(Valid { event, id_source })
}

/// Why an event was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Every complaint.
    pub(crate) errors: Vec<FieldError>,
    /// Whether the text was JSON at all.
    pub(crate) is_json: bool,
}

impl Refused {
    fn of(index: usize, detail: String) -> Self {
        Self { errors: vec![FieldError { index, field: String::new(), detail }], is_json: true }
    }
}

fn read_agent(fields: &mut Fields<'_>, from_path: Option<&AgentId>) -> String {
    let given = fields.text("agent_id").filter(|id| !id.is_empty());
    if let Some(agent) = from_path {
        return agent.as_str().to_owned();
    }
    match given {
        Some(id) if agent_id::is_valid(&id) => id,
        Some(_) => {
            fields.complain("agent_id", agent_id::RULE);
            String::new()
        }
        None => {
            fields.complain_once("agent_id", "is required");
            String::new()
        }
    }
}

fn read_message_type(fields: &mut Fields<'_>) -> Option<MessageType> {
    let Some(name) = fields.text("message_type") else {
        fields.complain_once("message_type", "is required");
        return None;
    };
    let message_type = MessageType::parse(&name);
    if message_type.is_none() {
        let names: Vec<_> = MessageType::ALL.iter().map(|t| t.name()).collect();
        fields.complain("message_type", format!("must be one of {}", names.join(", ")));
    }
    message_type
}

/// Event id (empty where it follows from the content), timestamp and where the id comes from.
fn read_identity(fields: &mut Fields<'_>, key_id: Option<&str>, rules: &Rules<'_>) -> (String, i64, IdSource) {
    let own_id = fields.text("event_id").filter(|id| !id.is_empty());
    if own_id.as_deref().is_some_and(|id| !is_valid_event_id(id)) {
        fields.complain("event_id", "must be 1 to 64 letters, digits or . _ : -");
    }
    let is_own = own_id.is_some();
    let id = own_id.or_else(|| key_id.map(str::to_owned));
    let text = fields.text("timestamp");
    let none = (String::new(), rules.now, IdSource::Fresh);
    if let Some(text) = text {
        let Some(time) = parse_client_time(&text) else {
            fields.complain("timestamp", "must be an ISO 8601 time such as 2026-01-07T10:30:00.123Z");
            return none;
        };
        check_time(fields, "timestamp", time.micros, rules);
        return match id {
            Some(id) => (id, time.micros, IdSource::Client),
            None if time.is_fine => (String::new(), time.micros, IdSource::Content),
            None => (Uuid::now_v7().to_string(), time.micros, IdSource::Fresh),
        };
    }
    let Some(id) = id else {
        // The id carries the timestamp, so that a retry that sends this id comes to the same identity.
        let at = rules.now.div_euclid(1_000) * 1_000;
        return (fresh_id(at).to_string(), at, IdSource::Fresh);
    };
    match time_of_uuid(&id).filter(|_| is_own) {
        Some(at) => {
            check_time(fields, "event_id", at, rules);
            (id, at, IdSource::Client)
        }
        None => {
            let why = if is_own { "an event_id that is no UUIDv7" } else { "Idempotency-Key" };
            fields.complain_once("timestamp", &format!("is required with {why}: without it a retry could not be recognised"));
            none
        }
    }
}

fn check_time(fields: &mut Fields<'_>, field: &str, at: i64, rules: &Rules<'_>) {
    if at < EARLIEST_US {
        fields.complain(field, "lies before 2000-01-01");
    } else if at > rules.now + AHEAD_US {
        fields.complain(field, format!("lies more than 10 minutes ahead of the server's clock ({})", format_micros(rules.now)));
    } else if let Some(days) = rules.retention_days
        && at < rules.now - (i64::from(days) - 1) * DAY_US
    {
        fields.complain(field, format!("is older than {} days, events are kept for {days}", i64::from(days) - 1));
    }
}

/// The time that a UUIDv7 carries, µs since the epoch.
fn time_of_uuid(id: &str) -> Option<i64> {
    let uuid = Uuid::try_parse(id).ok().filter(|uuid| uuid.get_version_num() == 7)?;
    let (seconds, nanos) = uuid.get_timestamp()?.to_unix();
    i64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1_000))
}

/// A UUIDv7 of that time, µs since the epoch.
fn fresh_id(at: i64) -> Uuid {
    let random = Uuid::new_v4();
    let mut tail = [0; 10];
    tail.copy_from_slice(&random.as_bytes()[6..]);
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(at / 1_000).unwrap_or(0), &tail).into_uuid()
}

fn read_metadata(fields: &mut Fields<'_>, event: &mut AgentEvent, is_strict: bool) {
    let sent = match fields.values().get("metadata") {
        None | Some(Value::Null) => None,
        Some(Value::Object(_)) => fields.raw().iter().find(|(name, _)| name == "metadata").map(|(_, raw)| *raw),
        Some(other) => {
            let detail = format!("must be an object, not {}", kind(other));
            fields.complain("metadata", detail);
            None
        }
    };
    let unknown: Vec<(String, &str)> = fields
        .raw()
        .iter()
        .filter(|(name, raw)| !KNOWN.contains(&name.as_ref()) && *raw != "null")
        .map(|(name, raw)| (name.clone().into_owned(), *raw))
        .collect();
    if is_strict {
        for (name, _) in &unknown {
            fields.complain(name, "is not a field of the contract");
        }
        if !unknown.is_empty() {
            return;
        }
    }
    let known = sent.and_then(|_| fields.values().get("metadata")).and_then(Value::as_object);
    let added: Vec<(&str, &str)> = unknown.iter().map(|(name, raw)| (name.as_str(), *raw)).collect();
    event.metadata = metadata::with_unknown_fields(sent, known, &added);
    if let Some(known) = known {
        metadata::lift(known, event);
    }
    let unknown: Map<String, Value> =
        unknown.iter().filter_map(|(name, _)| fields.values().get(name).map(|value| (name.clone(), value.clone()))).collect();
    metadata::lift(&unknown, event);
}

fn fill_defaults(event: &mut AgentEvent, prices: &PriceTable) {
    if event.token_count.is_none() && (event.input_tokens.is_some() || event.output_tokens.is_some()) {
        event.token_count = Some(event.input_tokens.unwrap_or(0) + event.output_tokens.unwrap_or(0));
    }
    if event.cost_usd.is_some() {
        return;
    }
    let Some(model) = &event.model_used else { return };
    let has_tokens = event.input_tokens.is_some() || event.output_tokens.is_some();
    let cost = prices.cost_usd(model, event.input_tokens, event.output_tokens, event.cached_input_tokens);
    // A price that the contract's bounds do not admit is no better than an unknown one.
    if let Some(cost) = cost.filter(|cost| has_tokens && (0.0..=MAX_COST_USD).contains(cost)) {
        // In whole nano-dollars, as it will be counted: 0.0022, not 0.0021999999999999997.
        event.cost_usd = Some((cost * 1e9).round() / 1e9);
        event.cost_estimated = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identify::identify;
    use schemas::examples;
    use schemas::time::parse_micros;

    fn now() -> i64 {
        parse_micros("2026-01-07T12:00:00Z").expect("a time")
    }

    fn prices() -> PriceTable {
        PriceTable::from_json(examples::PRICES).expect("a table")
    }

    fn judged(text: &str, change: impl FnOnce(&mut Rules<'_>)) -> Result<Valid, Vec<FieldError>> {
        let (prices, agent) = (prices(), AgentId::parse("path-agent").expect("an id"));
        let mut rules = Rules { now: now(), retention_days: None, is_strict: false, prices: &prices, agent: Some(&agent) };
        change(&mut rules);
        validate(0, text, None, &rules).map_err(|refused| refused.errors)
    }

    fn complaints(text: &str) -> Vec<String> {
        let errors = judged(text, |_| ()).expect_err(text);
        errors.into_iter().map(|e| format!("{}: {}", e.field, e.detail)).collect()
    }

    fn event(text: &str) -> AgentEvent {
        judged(text, |_| ()).unwrap_or_else(|e| panic!("{text}: {e:?}")).event
    }

    #[test]
    fn golden_examples_become_the_events_they_say() {
        let prices = prices();
        for example in examples::all() {
            let agent = AgentId::parse(example.agent_id.as_str()).expect("an id");
            let rules = Rules { now: now(), retention_days: None, is_strict: false, prices: &prices, agent: Some(&agent) };
            let valid = validate(0, &example.request, None, &rules).unwrap_or_else(|e| panic!("{}: {e:?}", example.name));
            let mut events = [(0, valid)];
            assert!(identify(&mut events).is_empty());
            let [(_, Valid { event, .. })] = events;
            let hash: String = event.content_hash.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(event, example.event, "{}: {} {hash}", example.name, event.event_id);
        }
    }
}
