//! The client's `metadata` object: kept as the text that was sent, with the event's unknown fields added, and
//! read for the keys that mean something to us.

use crate::fields::{check_name, read_count};
use crate::validate::{MAX_COUNT, MAX_ID, MAX_NAME};
use schemas::AgentEvent;
use serde_json::{Map, Value};

/// Adds fields to the text of a JSON object (`{}` where there is none); a key that the object has already
/// is passed over (the caller refuses another value under it). The object's own text stays as it is. `fields` are names and JSON texts.
pub(crate) fn with_unknown_fields(metadata: Option<&str>, known: Option<&Map<String, Value>>, fields: &[(&str, &str)]) -> Option<String> {
    let object = metadata.map(str::trim_ascii);
    let mut added = fields.iter().filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name))).peekable();
    if added.peek().is_none() {
        return object.map(str::to_owned);
    }
    let inner = object.map_or("", |object| object.strip_prefix('{').and_then(|o| o.strip_suffix('}')).unwrap_or(""));
    let room: usize = fields.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    let mut text = String::with_capacity(inner.len() + room + 2);
    text.push('{');
    text.push_str(inner);
    let mut is_first = inner.trim_ascii().is_empty();
    for (name, value) in added {
        if !is_first {
            text.push(',');
        }
        is_first = false;
        text.push_str(&Value::from(*name).to_string());
        text.push(':');
        text.push_str(value);
    }
    text.push('}');
    Some(text)
}

/// The keys that [`lift`] knows and that are no fields of the contract themselves.
pub(crate) const LIFTED: [&str; 2] = ["tokens_prompt", "tokens_completion"];

/// Takes known keys into the event's fields where those are absent. A key whose value does not fit its field
/// stays what it is: metadata.
pub(crate) fn lift(metadata: &Map<String, Value>, event: &mut AgentEvent) {
    let name = |key: &str, max: usize| {
        let text = metadata.get(key)?.as_str()?;
        check_name(text, max).is_ok().then(|| text.to_owned())
    };
    let count = |key: &str| metadata.get(key).and_then(|value| read_count(value.as_number()?, MAX_COUNT).ok());
    let fill = |field: &mut Option<String>, key: &str, max: usize| {
        if field.is_none() {
            *field = name(key, max);
        }
    };
    fill(&mut event.user_id, "user_id", MAX_ID);
    fill(&mut event.session_id, "session_id", MAX_ID);
    fill(&mut event.conversation_id, "conversation_id", MAX_ID);
    fill(&mut event.trace_id, "trace_id", MAX_ID);
    fill(&mut event.error_type, "error_type", MAX_NAME);
    fill(&mut event.tool_name, "tool_name", MAX_NAME);
    event.input_tokens = event.input_tokens.or_else(|| count("tokens_prompt"));
    event.output_tokens = event.output_tokens.or_else(|| count("tokens_completion"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::MessageType;
    use serde_json::json;

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).expect("an object")
    }

    #[test]
    fn metadata_without_additions_stays_as_sent() {
        let sent = "{ \"b\" : null,\"a\":1.0, \"b2\":\"\\u0041\" }";
        assert_eq!(with_unknown_fields(Some(sent), Some(&object(sent)), &[]).as_deref(), Some(sent));
        assert_eq!(with_unknown_fields(None, None, &[]), None);
    }

    #[test]
    fn unknown_fields_are_appended_beside_existing_keys() {
        let sent = r#"{"a": 1}"#;
        let merged = with_unknown_fields(Some(sent), Some(&object(sent)), &[("a", "2"), ("b\"", "[1.0]"), ("c", "\"x\"")]);
        assert_eq!(merged.as_deref(), Some(r#"{"a": 1,"b\"":[1.0],"c":"x"}"#));
        assert_eq!(with_unknown_fields(Some("{ }"), Some(&Map::new()), &[("b", "1")]).as_deref(), Some(r#"{ "b":1}"#));
        assert_eq!(with_unknown_fields(None, None, &[("b", "1")]).as_deref(), Some(r#"{"b":1}"#));
    }

    #[test]
    fn known_keys_fill_absent_fields_only() {
        let mut event = AgentEvent::new("a", 0, "e", MessageType::Error);
        event.user_id = Some("field".into());
        let metadata = json!({"user_id": "metadata", "session_id": "s", "trace_id": 7, "conversation_id": "", "error_type": "x".repeat(129),
            "tool_name": "a\nb", "tokens_prompt": 3.0, "tokens_completion": -1});
        lift(metadata.as_object().expect("an object"), &mut event);
        assert_eq!(event.user_id.as_deref(), Some("field"));
        assert_eq!(event.session_id.as_deref(), Some("s"));
        assert_eq!((event.trace_id, event.conversation_id, event.error_type, event.tool_name), (None, None, None, None));
        assert_eq!((event.input_tokens, event.output_tokens), (Some(3), None));
    }
}
