//! A raw event on its way to those who watch, and which of them want it.

use event_log::{LogRecord, Position};
use rustc_hash::FxHashSet;
use schemas::codec::decode_event;
use schemas::time::format_micros;
use schemas::{AgentEvent, MessageType};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Longest content, error details and metadata that travel in a stream; the permalink has the whole.
const LONGEST_TEXT: usize = 4_096;

/// An event as it lies in the log: it may be a repeat, and it may not be counted yet.
#[derive(Debug)]
pub(crate) struct TailedEvent {
    /// Partition of the events topic.
    pub(crate) partition: u32,
    /// Offset within the partition.
    pub(crate) offset: u64,
    /// JSON of [`WatchedEvent`].
    pub(crate) json: String,
}

/// Data of an `event` message: an event as accepted, before it is stored. A repeat shows again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WatchedEvent<'a> {
    /// `<epoch>-<partition>-<offset>`: the event's own receipt.
    receipt: String,
    /// When the log took it.
    #[schema(format = DateTime)]
    received_at: String,
    /// The agent.
    agent_id: &'a str,
    /// The event's id.
    event_id: &'a str,
    /// When, by the client's clock, UTC.
    #[schema(format = DateTime)]
    timestamp: String,
    /// Its kind.
    #[schema(value_type = crate::events::EventType)]
    message_type: &'a str,
    /// The text.
    #[schema(required)]
    content: Option<&'a str>,
    /// The client's object.
    #[schema(required, value_type = Option<Object>)]
    metadata: Option<&'a RawValue>,
    /// What went wrong.
    #[schema(required)]
    error_details: Option<&'a str>,
    /// Response time, ms.
    #[schema(required)]
    response_time_ms: Option<f64>,
    /// Tokens.
    #[schema(required)]
    token_count: Option<i64>,
    /// Name of the model.
    #[schema(required)]
    model_used: Option<&'a str>,
    /// 1 to 5.
    #[schema(required)]
    user_feedback: Option<f64>,
    /// Who used the agent.
    #[schema(required)]
    user_id: Option<&'a str>,
    /// The client's session.
    #[schema(required)]
    session_id: Option<&'a str>,
    /// The conversation.
    #[schema(required)]
    conversation_id: Option<&'a str>,
    /// The trace.
    #[schema(required)]
    trace_id: Option<&'a str>,
    /// The span.
    #[schema(required)]
    span_id: Option<&'a str>,
    /// The span above.
    #[schema(required)]
    parent_span_id: Option<&'a str>,
    /// The tool called.
    #[schema(required)]
    tool_name: Option<&'a str>,
    /// Kind of the error.
    #[schema(required)]
    error_type: Option<&'a str>,
    /// Input tokens.
    #[schema(required)]
    input_tokens: Option<i64>,
    /// Output tokens.
    #[schema(required)]
    output_tokens: Option<i64>,
    /// Input tokens that came from a cache.
    #[schema(required)]
    cached_input_tokens: Option<i64>,
    /// Output tokens spent on reasoning.
    #[schema(required)]
    reasoning_tokens: Option<i64>,
    /// Cost, US dollars; null where it is unknown.
    #[schema(required)]
    cost_usd: Option<f64>,
    /// Whether the cost was priced from model and tokens.
    cost_estimated: bool,
    /// Names of the fields that were too long for a stream and were cut (or, `metadata`, left out).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cut: Vec<&'static str>,
}

/// Which events a watcher wants: those that fit every given part.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EventFilter {
    /// Of one of these agents.
    pub(crate) agents: Option<FxHashSet<String>>,
    /// Of one of these types; empty for all.
    pub(crate) message_types: Vec<MessageType>,
    /// That took at least so long.
    pub(crate) min_response_time_ms: Option<f64>,
    /// With this model.
    pub(crate) model: Option<String>,
    /// Of this user.
    pub(crate) user_id: Option<String>,
    /// Of this conversation.
    pub(crate) conversation_id: Option<String>,
}

impl EventFilter {
    /// Whether the event fits.
    pub(crate) fn takes(&self, event: &AgentEvent) -> bool {
        let is_same = |wanted: &Option<String>, have: &Option<String>| wanted.is_none() || wanted == have;
        self.agents.as_ref().is_none_or(|agents| agents.contains(&event.agent_id))
            && (self.message_types.is_empty() || self.message_types.contains(&event.message_type))
            && self.min_response_time_ms.is_none_or(|least| event.response_time_ms.is_some_and(|ms| ms >= least))
            && is_same(&self.model, &event.model_used)
            && is_same(&self.user_id, &event.user_id)
            && is_same(&self.conversation_id, &event.conversation_id)
    }
}

impl TailedEvent {
    /// Reads a record; `None` where it is no event (the aggregator makes a dead letter of it).
    pub(crate) fn of(record: &LogRecord) -> Option<AgentEvent> {
        let event = decode_event(&record.value);
        if let Err(error) = &event {
            metrics::counter!("event_tail_undecodable_total").increment(1);
            tracing::debug!(%error, partition = record.partition, offset = record.offset, "a record of the events topic cannot be decoded");
        }
        event.ok()
    }

    /// The event with its JSON.
    pub(crate) fn new(event: &AgentEvent, record: &LogRecord, epoch: u32) -> Self {
        let position = Position { epoch, partition: record.partition, offset: record.offset };
        let fits = |text: &Option<String>| text.as_ref().is_none_or(|t| t.len() <= LONGEST_TEXT);
        let texts = [("content", &event.content), ("metadata", &event.metadata), ("error_details", &event.error_details)];
        let cut = texts.into_iter().filter(|(_, text)| !fits(text)).map(|(name, _)| name).collect();
        let watched = WatchedEvent {
            receipt: position.to_string(),
            received_at: format_micros(record.appended_at_ms.saturating_mul(1_000)),
            agent_id: &event.agent_id,
            event_id: &event.event_id,
            timestamp: format_micros(event.timestamp),
            message_type: event.message_type.name(),
            content: event.content.as_deref().map(beginning),
            metadata: event.metadata.as_deref().filter(|m| m.len() <= LONGEST_TEXT).and_then(|m| serde_json::from_str(m).ok()),
            error_details: event.error_details.as_deref().map(beginning),
            response_time_ms: event.response_time_ms,
            token_count: event.token_count,
            model_used: event.model_used.as_deref(),
            user_feedback: event.user_feedback,
            user_id: event.user_id.as_deref(),
            session_id: event.session_id.as_deref(),
            conversation_id: event.conversation_id.as_deref(),
            trace_id: event.trace_id.as_deref(),
            span_id: event.span_id.as_deref(),
            parent_span_id: event.parent_span_id.as_deref(),
            tool_name: event.tool_name.as_deref(),
            error_type: event.error_type.as_deref(),
            input_tokens: event.input_tokens,
            output_tokens: event.output_tokens,
            cached_input_tokens: event.cached_input_tokens,
            reasoning_tokens: event.reasoning_tokens,
            cost_usd: event.cost_usd,
            cost_estimated: event.cost_estimated,
            cut,
        };
        // Metadata as sent may hold line breaks, which SSE would split: JSON text is written anew without them.
        let json = serde_json::to_string(&watched).expect("an event is JSON");
        let json = if json.contains(['\n', '\r']) { on_one_line(&json) } else { json };
        Self { partition: record.partition, offset: record.offset, json }
    }

    /// Bytes that the event holds in memory.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + 16 + self.json.len()
    }
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// In JSON text a raw line break can only stand between tokens, where a space means the same.
fn on_one_line(json: &str) -> String {
    json.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn record(value: Vec<u8>) -> LogRecord {
        LogRecord { partition: 3, offset: 7, appended_at_ms: 1_000, key: Bytes::new(), value: value.into(), headers: Vec::new() }
    }

    fn json_of(event: &AgentEvent) -> serde_json::Value {
        let text = TailedEvent::new(event, &record(Vec::new()), 2).json;
        assert!(!text.contains(['\n', '\r']));
        serde_json::from_str(&text).expect("json")
    }

    #[test]
    fn an_event_is_shown_as_sent_with_its_receipt() {
        let mut event = AgentEvent::new("a", 1_767_781_800_123_456, "e-1", MessageType::Error);
        event.content = Some("line\nline".into());
        event.metadata = Some("{\n  \"a\": null,\r\n  \"big\": 12345678901234567890123\n}".into());
        let json = json_of(&event);
        assert_eq!(json["receipt"], "2-3-7");
        assert_eq!(json["timestamp"], "2026-01-07T10:30:00.123456Z");
        assert_eq!(json["received_at"], "1970-01-01T00:00:01.000000Z");
        assert_eq!(json["content"], "line\nline");
        assert!(json["metadata"]["a"].is_null() && json["metadata"].as_object().is_some_and(|m| m.len() == 2));
        assert_eq!(json.get("cut"), None);
    }

    #[test]
    fn long_texts_are_cut_and_named() {
        let mut event = AgentEvent::new("a", 0, "e-1", MessageType::Error);
        event.content = Some("ä".repeat(100_000));
        event.metadata = Some(format!("{{\"a\":\"{}\"}}", "x".repeat(100_000)));
        let json = json_of(&event);
        assert_eq!(json["cut"], serde_json::json!(["content", "metadata"]));
        assert_eq!(json["content"].as_str().map(str::len), Some(LONGEST_TEXT));
        assert!(json["metadata"].is_null());
    }

    #[test]
    fn a_filter_takes_what_fits_every_part() {
        let mut event = AgentEvent::new("a", 0, "e-1", MessageType::Error);
        event.response_time_ms = Some(50.0);
        event.user_id = Some("u".into());
        let all = EventFilter::default();
        assert!(all.takes(&event));
        let takes = |change: &dyn Fn(&mut EventFilter)| {
            let mut filter = all.clone();
            change(&mut filter);
            filter.takes(&event)
        };
        assert!(takes(&|f| f.agents = Some(FxHashSet::from_iter(["a".to_owned(), "b".to_owned()]))));
        assert!(!takes(&|f| f.agents = Some(FxHashSet::from_iter(["b".to_owned()]))));
        assert!(takes(&|f| f.message_types = vec![MessageType::Feedback, MessageType::Error]));
        assert!(!takes(&|f| f.message_types = vec![MessageType::Feedback]));
        assert!(takes(&|f| f.min_response_time_ms = Some(50.0)));
        assert!(!takes(&|f| f.min_response_time_ms = Some(50.1)));
        assert!(!takes(&|f| f.model = Some("m".into())));
        assert!(takes(&|f| f.user_id = Some("u".into())));
        assert!(!takes(&|f| f.conversation_id = Some("c".into())));
        assert!(!takes(&|f| {
            f.user_id = Some("u".into());
            f.message_types = vec![MessageType::Feedback];
        }));
    }

    #[test]
    fn what_is_no_event_is_passed_over() {
        assert!(TailedEvent::of(&record(b"junk".to_vec())).is_none());
        let event = AgentEvent::new("a", 0, "e-1", MessageType::Error);
        let bytes = schemas::codec::encode_event(&event, schemas::codec::WireForm::SingleObject);
        assert_eq!(TailedEvent::of(&record(bytes)), Some(event));
    }
}
