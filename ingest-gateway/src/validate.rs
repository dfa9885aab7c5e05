//! From an event's JSON text to an [`AgentEvent`], or to every reason why it is none. The contract's rules for
//! events live here and nowhere else. Pure: the clock's reading comes in with [`Rules`].

use crate::fields::{Field, FieldValue, Fields, Known, NoFields};
use crate::metadata;
use schemas::agent_id;
use schemas::identity::is_valid_event_id;
use schemas::price::{MAX_COST_USD, PriceTable};
use schemas::problem::FieldError;
use schemas::time::{DAY_US, format_micros, parse_client_time};
use schemas::{AgentEvent, AgentId, MessageType};
use serde_json::{Map, Value};
use std::borrow::Cow;
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
/// 2000-01-01T00:00:00Z.
const EARLIEST_US: i64 = 946_684_800_000_000;
/// How far a client's clock may be ahead of ours.
const AHEAD_US: i64 = 600_000_000;

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
    let hash = fields.content_hash();
    let agent = read_agent(&mut fields, rules.agent);
    let (event_id, timestamp, id_source) = read_identity(&mut fields, key_id, rules);
    let message_type = read_message_type(&mut fields);

    let mut event = AgentEvent::new(agent, timestamp, event_id, message_type.unwrap_or(MessageType::CustomMetric));
    event.content_hash = hash;
    event.content = fields.text(Known::Content).map(Cow::into_owned);
    event.error_details = fields.text(Known::ErrorDetails).map(Cow::into_owned);
    event.response_time_ms = fields.number(Known::ResponseTimeMs, 0.0, MAX_RESPONSE_TIME_MS);
    event.token_count = fields.count(Known::TokenCount, MAX_COUNT);
    event.model_used = fields.name(Known::ModelUsed, MAX_NAME);
    event.user_feedback = fields.number(Known::UserFeedback, 1.0, 5.0);
    event.user_id = fields.name(Known::UserId, MAX_ID);
    event.session_id = fields.name(Known::SessionId, MAX_ID);
    event.conversation_id = fields.name(Known::ConversationId, MAX_ID);
    event.trace_id = fields.name(Known::TraceId, MAX_ID);
    event.span_id = fields.name(Known::SpanId, MAX_ID);
    event.parent_span_id = fields.name(Known::ParentSpanId, MAX_ID);
    event.tool_name = fields.name(Known::ToolName, MAX_NAME);
    event.error_type = fields.name(Known::ErrorType, MAX_NAME);
    event.input_tokens = fields.count(Known::InputTokens, MAX_COUNT);
    event.output_tokens = fields.count(Known::OutputTokens, MAX_COUNT);
    event.cached_input_tokens = fields.count(Known::CachedInputTokens, MAX_COUNT);
    event.reasoning_tokens = fields.count(Known::ReasoningTokens, MAX_COUNT);
    event.cost_usd = fields.number(Known::CostUsd, 0.0, MAX_COST_USD);
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
    let given = fields.text(Known::AgentId).filter(|id| !id.is_empty());
    if let Some(agent) = from_path {
        return agent.as_str().to_owned();
    }
    match given {
        Some(id) if agent_id::is_valid(&id) => id.into_owned(),
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
    let Some(name) = fields.text(Known::MessageType) else {
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
    let own_id = fields.text(Known::EventId).filter(|id| !id.is_empty());
    if own_id.as_deref().is_some_and(|id| !is_valid_event_id(id)) {
        fields.complain("event_id", "must be 1 to 64 letters, digits or . _ : -");
    }
    let is_own = own_id.is_some();
    let id = own_id.map(Cow::into_owned).or_else(|| key_id.map(str::to_owned));
    let text = fields.text(Known::Timestamp);
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

/// The time that a version 7 UUID carries, µs since the epoch.
fn time_of_uuid(id: &str) -> Option<i64> {
    let uuid = Uuid::try_parse(id).ok().filter(|uuid| uuid.get_version_num() == 7)?;
    let (seconds, nanos) = uuid.get_timestamp()?.to_unix();
    i64::try_from(seconds).ok()?.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1_000))
}

/// A version 7 UUID of that time, µs since the epoch.
fn fresh_id(at: i64) -> Uuid {
    let random = Uuid::new_v4();
    let mut tail = [0; 10];
    tail.copy_from_slice(&random.as_bytes()[6..]);
    uuid::Builder::from_unix_timestamp_millis(u64::try_from(at / 1_000).unwrap_or(0), &tail).into_uuid()
}

fn read_metadata(fields: &mut Fields<'_>, event: &mut AgentEvent, is_strict: bool) {
    let sent = match fields.get(Known::Metadata).map(|field| &field.value) {
        None | Some(FieldValue::Null) => None,
        Some(FieldValue::Tree(Value::Object(_))) => fields.get(Known::Metadata).map(|field| field.raw),
        Some(other) => {
            let detail = format!("must be an object, not {}", other.kind());
            fields.complain("metadata", detail);
            None
        }
    };
    let is_given = |field: &&Field<'_>| field.raw != "null";
    if is_strict {
        let names: Vec<String> = fields.unknown().filter(is_given).map(|field| field.name.to_string()).collect();
        for name in &names {
            fields.complain(name, "is not a field of the contract");
        }
        if !names.is_empty() {
            return;
        }
    }
    let known = match fields.get(Known::Metadata).map(|field| &field.value) {
        Some(FieldValue::Tree(Value::Object(known))) => Some(known),
        _ => None,
    };
    let unknown: Vec<&Field<'_>> = fields.unknown().filter(is_given).collect();
    // Two values for one key: neither may vanish without a word.
    let differs = |field: &&&Field<'_>| known.and_then(|known| known.get(&*field.name)).is_some_and(|inside| !field.value.is(inside));
    let torn: Vec<String> = unknown.iter().filter(differs).map(|field| field.name.to_string()).collect();
    if !torn.is_empty() {
        for name in &torn {
            fields.complain(name, "is not a field of the contract, and metadata has another value under this name");
        }
        return;
    }
    let added: Vec<(&str, &str)> = unknown.iter().map(|field| (&*field.name, field.raw)).collect();
    event.metadata = metadata::with_unknown_fields(sent, known, &added);
    if let Some(known) = known {
        metadata::lift(known, event);
    }
    let beside = unknown.iter().filter(|field| metadata::LIFTED.contains(&&*field.name));
    let beside: Map<String, Value> =
        beside.filter_map(|field| Some((field.name.to_string(), serde_json::from_str(field.raw).ok()?))).collect();
    if !beside.is_empty() {
        metadata::lift(&beside, event);
    }
}

fn fill_defaults(event: &mut AgentEvent, prices: &PriceTable) {
    if event.token_count.is_none() && (event.input_tokens.is_some() || event.output_tokens.is_some()) {
        event.token_count = Some(event.input_tokens.unwrap_or(0) + event.output_tokens.unwrap_or(0));
    }
    if event.cost_usd.is_some() {
        return;
    }
    event.cost_usd = prices.estimate_usd(event);
    event.cost_estimated = event.cost_usd.is_some();
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

    const TIME: &str = r#""timestamp":"2026-01-07T10:30:00.123Z""#;

    /// An error event with that timestamp and further fields.
    fn with(fields: &str) -> String {
        format!(r#"{{"message_type":"error",{TIME},{fields}}}"#)
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let text = r#"{"event_id":"a b","timestamp":"yesterday","message_type":"chat","content":1,"metadata":[],"error_details":{},
            "response_time_ms":-1,"token_count":1.5,"model_used":7,"user_feedback":6,"user_id":"\n","session_id":true,
            "tool_name":[],"input_tokens":"1","cost_usd":1000001}"#;
        let errors = judged(text, |rules| rules.agent = None).expect_err("all of it is wrong");
        let fields: Vec<_> = errors.iter().map(|e| e.field.as_str()).collect();
        for name in [
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
            "tool_name",
            "input_tokens",
            "cost_usd",
        ] {
            assert_eq!(fields.iter().filter(|field| **field == name).count(), 1, "{name}: {errors:?}");
        }
        assert!(errors.iter().any(|e| e.field == "message_type" && e.detail.contains("user_message") && e.detail.contains("tool_call")));
    }

    #[test]
    fn only_the_message_type_is_required_with_an_agent_in_the_path() {
        assert_eq!(complaints("{}"), ["message_type: is required"]);
        assert_eq!(complaints(r#"{"message_type":null}"#), ["message_type: is required"]);
        let event = event(r#"{"message_type":"graph_step"}"#);
        assert_eq!((event.agent_id.as_str(), event.timestamp), ("path-agent", now()));
    }

    #[test]
    fn the_paths_agent_wins_and_without_a_path_the_body_must_name_one() {
        assert_eq!(event(&with(r#""agent_id":"other""#)).agent_id, "path-agent");
        assert_eq!(event(&with(r#""agent_id":"*a""#)).agent_id, "path-agent", "what loses is not judged");
        let body = |id: &str| judged(&with(&format!(r#""agent_id":{id}"#)), |rules| rules.agent = None).map(|v| v.event.agent_id);
        assert_eq!(body(r#""team/bot@eu:1""#).as_deref(), Ok("team/bot@eu:1"));
        for id in ["null", "\"\"", "7", r#""a#b""#, r#"" a""#, &format!("\"{}\"", "a".repeat(129))] {
            assert!(body(id).is_err(), "{id}");
        }
    }

    #[test]
    fn nulls_and_empty_ids_are_absent_but_empty_texts_are_not() {
        let names = [
            "event_id",
            "model_used",
            "user_id",
            "session_id",
            "conversation_id",
            "trace_id",
            "span_id",
            "parent_span_id",
            "tool_name",
            "error_type",
        ];
        let empty: Vec<_> = names.iter().map(|name| format!(r#""{name}":"""#)).collect();
        let event = event(&with(&format!(r#"{},"content":"","error_details":"""#, empty.join(","))));
        assert_eq!((event.model_used, event.user_id, event.tool_name, event.error_type, event.span_id), (None, None, None, None, None));
        assert_eq!((event.content.as_deref(), event.error_details.as_deref()), (Some(""), Some("")));
        let nulls: Vec<_> = Known::ALL
            .map(Known::name)
            .iter()
            .filter(|name| !["message_type", "timestamp"].contains(name))
            .map(|name| format!(r#""{name}":null"#))
            .collect();
        assert_eq!(super::tests::event(&with(&nulls.join(","))).metadata, None);
    }

    #[test]
    fn times_reach_from_2000_to_ten_minutes_ahead() {
        let at = |time: &str| judged(&format!(r#"{{"message_type":"error","timestamp":"{time}"}}"#), |_| ()).map(|v| v.event.timestamp);
        assert!(at("2000-01-01T00:00:00Z").is_ok());
        assert!(at("1999-12-31T23:59:59.999999Z").is_err());
        assert_eq!(at("2026-01-07T12:10:00.000Z"), Ok(now() + AHEAD_US));
        assert!(at("2026-01-07T12:10:00.000001Z").is_err());
        assert!(at("2026-01-07").is_err());
        assert!(complaints(r#"{"message_type":"error","timestamp":1767781800}"#)[0].contains("a string, not a number"));
        assert!(complaints(r#"{"message_type":"error","timestamp":""}"#)[0].contains("ISO 8601"));
    }

    #[test]
    fn with_retention_on_old_events_are_refused() {
        let kept = |time: &str| {
            judged(&format!(r#"{{"message_type":"error","timestamp":"{time}"}}"#), |rules| rules.retention_days = Some(30)).is_ok()
        };
        assert!(kept("2025-12-09T12:00:00.000Z"), "29 days old");
        assert!(!kept("2025-12-09T11:59:59.999Z"));
    }

    #[test]
    fn a_missing_time_comes_from_a_uuid_or_the_clock() {
        // 0x019b980653e0 ms
        let v7 = |id: &str| judged(&format!(r#"{{"message_type":"error","event_id":"{id}"}}"#), |_| ());
        let valid = v7("019b9806-53e0-7000-8000-0123456789ab").expect("a time");
        assert_eq!((valid.event.timestamp, valid.id_source), (1_767_782_110_176_000, IdSource::Client));
        for id in ["x", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "9b2e4f6a-1111-4222-8333-444455556666"] {
            assert!(v7(id).expect_err(id).iter().any(|e| e.field == "timestamp" && e.detail.contains("required")), "{id}");
        }
        assert!(v7("ffffffff-ffff-7000-8000-0123456789ab").expect_err("far ahead").iter().any(|e| e.field == "event_id"));
        let (prices, agent) = (prices(), AgentId::parse("a").expect("an id"));
        let rules = Rules { now: now(), retention_days: None, is_strict: false, prices: &prices, agent: Some(&agent) };
        let keyed = validate(0, r#"{"message_type":"error"}"#, Some("019b9806-53e0-7000-8000-0123456789ab"), &rules);
        assert!(keyed.expect_err("a key carries no time").errors[0].detail.contains("Idempotency-Key"));
    }

    #[test]
    fn a_retry_with_the_id_given_comes_to_the_same_identity() {
        for text in [r#"{"message_type":"error"}"#, r#"{"message_type":"error","timestamp":"2026-01-07T10:30:00Z"}"#] {
            let first = judged(text, |rules| rules.now += 999);
            let first = first.expect("valid").event;
            let retry = text.replace('{', &format!(r#"{{"event_id":"{}","#, first.event_id));
            let again = judged(&retry, |rules| rules.now += 3_000_000).expect("valid").event;
            assert_eq!(again, first);
        }
    }

    #[test]
    fn only_a_fine_timestamp_tells_a_repeat_by_its_content() {
        let source = |time: &str| judged(&format!(r#"{{"message_type":"error","timestamp":"{time}"}}"#), |_| ()).expect(time).id_source;
        assert_eq!(source("2026-01-07T10:30:00.123"), IdSource::Content);
        assert_eq!(source("2026-01-07T10:30:00.12"), IdSource::Fresh);
        assert_eq!(source("2026-01-07T10:30:00Z"), IdSource::Fresh);
    }

    #[test]
    fn digits_that_are_cut_still_tell_events_apart() {
        let one = event(r#"{"message_type":"error","timestamp":"2026-01-07T10:30:00.123456111Z"}"#);
        let two = event(r#"{"message_type":"error","timestamp":"2026-01-07T10:30:00.123456222Z"}"#);
        assert_eq!(one.timestamp, two.timestamp);
        assert_ne!(one.content_hash, two.content_hash);
    }

    #[test]
    fn bounds_hold_on_both_sides() {
        let is_taken = |field: &str| judged(&with(field), |_| ()).is_ok();
        for (field, good, bad) in [
            ("response_time_ms", ["0", "1000000000"], ["-0.1", "1000000000.1"]),
            ("token_count", ["0", "1000000000000"], ["-1", "1000000000001"]),
            ("reasoning_tokens", ["0", "1e12"], ["0.5", "1e13"]),
            ("cached_input_tokens", ["0.0", "7"], ["true", "[7]"]),
            ("user_feedback", ["1", "5.0"], ["0.99", "5.01"]),
            ("cost_usd", ["0", "1e6"], ["-1", "1000000.01"]),
        ] {
            for value in good {
                assert!(is_taken(&format!(r#""{field}":{value}"#)), "{field} {value}");
            }
            for value in bad {
                assert!(!is_taken(&format!(r#""{field}":{value}"#)), "{field} {value}");
            }
        }
        for (field, max) in [("user_id", 256), ("parent_span_id", 256), ("model_used", 128), ("tool_name", 128), ("error_type", 128)] {
            assert!(is_taken(&format!(r#""{field}":"{}""#, "\u{e9}".repeat(max))), "characters are counted, not bytes");
            assert!(!is_taken(&format!(r#""{field}":"{}""#, "x".repeat(max + 1))), "{field}");
            assert!(!is_taken(&format!(r#""{field}":"a\u0000""#)), "{field}");
        }
        assert!(is_taken(&format!(r#""event_id":"{}""#, "a".repeat(64))));
        assert!(!is_taken(&format!(r#""event_id":"{}""#, "a".repeat(65))));
    }

    #[test]
    fn texts_are_kept_as_sent_whatever_they_hold() {
        let event = event(&with(r#""content":"\u0000\u202e\ud83d\ude00 \t","error_details":"\u001b[31m""#));
        assert_eq!(event.content.as_deref(), Some("\0\u{202e}\u{1f600} \t"));
        assert_eq!(event.error_details.as_deref(), Some("\u{1b}[31m"));
    }

    #[test]
    fn unknown_fields_are_refused_only_on_request() {
        let text = with(r#""shiny":1,"new":null"#);
        assert_eq!(event(&text).metadata.as_deref(), Some(r#"{"shiny":1}"#));
        let errors = judged(&text, |rules| rules.is_strict = true).expect_err("strict");
        assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["shiny"]);
    }

    #[test]
    fn an_unknown_field_never_hides_behind_metadata() {
        let same = event(&with(r#""shiny":1,"metadata":{"shiny":1}"#));
        assert_eq!(same.metadata.as_deref(), Some(r#"{"shiny":1}"#));
        let errors = judged(&with(r#""shiny":1,"metadata":{"shiny":2}"#), |_| {}).expect_err("two values");
        assert_eq!(errors.iter().map(|e| e.field.as_str()).collect::<Vec<_>>(), ["shiny"]);
    }

    #[test]
    fn token_count_is_the_sum_where_it_is_not_given() {
        assert_eq!(event(&with(r#""input_tokens":3,"output_tokens":4"#)).token_count, Some(7));
        assert_eq!(event(&with(r#""input_tokens":3"#)).token_count, Some(3));
        assert_eq!(event(&with(r#""input_tokens":3,"token_count":0"#)).token_count, Some(0));
        assert_eq!(event(&with(r#""reasoning_tokens":3"#)).token_count, None);
    }

    #[test]
    fn cost_is_priced_only_where_it_can_be_known() {
        let cost = |fields: &str| {
            let event = event(&with(fields));
            (event.cost_usd, event.cost_estimated)
        };
        assert_eq!(cost(r#""model_used":"example-model","input_tokens":1000,"output_tokens":100"#), (Some(0.003), true));
        assert_eq!(cost(r#""model_used":"example-model","input_tokens":1000"#), (None, false), "the output may have cost something");
        assert_eq!(cost(r#""model_used":"example-model""#), (None, false));
        assert_eq!(cost(r#""model_used":"unheard-of","input_tokens":1,"output_tokens":1"#), (None, false));
        assert_eq!(cost(r#""model_used":"example-model","input_tokens":1,"output_tokens":1,"cost_usd":0"#), (Some(0.0), false));
        assert_eq!(cost(r#""model_used":"example-model","input_tokens":1e12,"output_tokens":1e12"#), (None, false), "beyond the bounds");
    }

    #[test]
    fn an_event_is_at_most_256_kib() {
        let sized = |bytes: usize| {
            let empty = with(r#""content":"""#).len();
            with(&format!(r#""content":"{}""#, "x".repeat(bytes - empty)))
        };
        assert_eq!(event(&sized(MAX_EVENT_BYTES)).content.map(|c| c.len() > 262_000), Some(true));
        assert!(complaints(&sized(MAX_EVENT_BYTES + 1))[0].contains("256 KiB"));
    }
}
