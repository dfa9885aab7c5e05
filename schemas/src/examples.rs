//! The golden examples in `examples/*.json`: requests with the events that they must become. Every crate's tests
//! run them through what is theirs (codec, validation, fold).

use crate::event::AgentEvent;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The table by which the examples' costs are priced.
pub const PRICES: &str =
    r#"{"date":"2026-01-01","source":"examples","models":{"example-model":{"input":2e-6,"output":1e-5,"cached_input":5e-7}}}"#;

/// A request and what it becomes.
#[derive(Clone, Debug)]
pub struct Example {
    /// The file's name without its ending.
    pub name: &'static str,
    /// The agent in the path.
    pub agent_id: String,
    /// The body, as a client writes it.
    pub request: String,
    /// The event as it lies in the log.
    pub event: AgentEvent,
}

macro_rules! examples {
    ($($name:literal),+ $(,)?) => {
        /// Every example.
        ///
        /// # Panics
        /// Where a committed example is broken.
        pub fn all() -> Vec<Example> {
            vec![$(read($name, include_str!(concat!("../examples/", $name, ".json")))),+]
        }
    };
}

examples! {
    "user_message",
    "agent_response",
    "error",
    "feedback",
    "conversation_start",
    "conversation_end",
    "graph_step",
    "custom_metric",
    "tool_call",
    "unknown_fields",
    "known_cost",
    "unknown_cost",
}

#[derive(Deserialize)]
struct File<'a> {
    agent_id: String,
    #[serde(borrow)]
    request: &'a RawValue,
    expect: Map<String, Value>,
}

fn read(name: &'static str, text: &str) -> Example {
    let file: File<'_> = serde_json::from_str(text).unwrap_or_else(|e| panic!("examples/{name}.json: {e}"));
    let mut fields = file.expect;
    let timestamp = fields.get("timestamp").and_then(Value::as_str).and_then(crate::time::parse_micros);
    fields.insert("timestamp".into(), timestamp.into());
    fields.insert("agent_id".into(), file.agent_id.clone().into());
    let event = serde_json::from_value(fields.into()).unwrap_or_else(|e| panic!("examples/{name}.json: expect: {e}"));
    Example { name, agent_id: file.agent_id, request: file.request.get().to_owned(), event }
}
