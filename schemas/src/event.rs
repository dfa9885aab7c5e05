//! The event as it travels through the log.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What an event tells of. The names are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageType {
    /// A user wrote to the agent; counted as a message.
    UserMessage,
    /// The agent answered; counted as a response.
    AgentResponse,
    /// The agent failed.
    Error,
    /// A user rated the agent.
    Feedback,
    /// A conversation began.
    ConversationStart,
    /// A conversation ended.
    ConversationEnd,
    /// A step of an agent's graph ran.
    GraphStep,
    /// A figure of the client's own.
    CustomMetric,
    /// The agent called a tool.
    ToolCall,
}

impl MessageType {
    /// Every type, in the contract's order.
    pub const ALL: [Self; 9] = [
        Self::UserMessage,
        Self::AgentResponse,
        Self::Error,
        Self::Feedback,
        Self::ConversationStart,
        Self::ConversationEnd,
        Self::GraphStep,
        Self::CustomMetric,
        Self::ToolCall,
    ];

    /// The contract's name, also the name of the rollup's counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UserMessage => "user_message",
            Self::AgentResponse => "agent_response",
            Self::Error => "error",
            Self::Feedback => "feedback",
            Self::ConversationStart => "conversation_start",
            Self::ConversationEnd => "conversation_end",
            Self::GraphStep => "graph_step",
            Self::CustomMetric => "custom_metric",
            Self::ToolCall => "tool_call",
        }
    }

    /// The type of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One accepted event: the fields of `avro/agent_event.avsc`, in its order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentEvent {
    /// Whose event it is.
    pub agent_id: String,
    /// The client's id, or one derived from the content (see [`crate::identity`]).
    pub event_id: String,
    /// Microseconds since the epoch, UTC, as the client says.
    pub timestamp: i64,
    /// What the event tells of.
    pub message_type: MessageType,
    /// Tells a repeat from a conflict; see [`crate::identity::content_hash`].
    #[serde(with = "fixed_bytes")]
    pub content_hash: [u8; 16],
    /// The text, as sent.
    #[serde(default)]
    pub content: Option<String>,
    /// The JSON text of the client's object, as sent.
    #[serde(default)]
    pub metadata: Option<String>,
    /// What went wrong, as sent.
    #[serde(default)]
    pub error_details: Option<String>,
    /// Milliseconds, fractions allowed; rounded to microseconds once, in the fold.
    #[serde(default)]
    pub response_time_ms: Option<f64>,
    /// Tokens; defaults to input + output.
    #[serde(default)]
    pub token_count: Option<i64>,
    /// Name of the model.
    #[serde(default)]
    pub model_used: Option<String>,
    /// 1 to 5.
    #[serde(default)]
    pub user_feedback: Option<f64>,
    /// Who used the agent.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The client's session.
    #[serde(default)]
    pub session_id: Option<String>,
    /// The conversation that the event belongs to.
    #[serde(default)]
    pub conversation_id: Option<String>,
    /// The trace that the event belongs to.
    #[serde(default)]
    pub trace_id: Option<String>,
    /// The span that the event is.
    #[serde(default)]
    pub span_id: Option<String>,
    /// The span above.
    #[serde(default)]
    pub parent_span_id: Option<String>,
    /// Name of the tool called.
    #[serde(default)]
    pub tool_name: Option<String>,
    /// Kind of the error.
    #[serde(default)]
    pub error_type: Option<String>,
    /// Input tokens, cached ones included.
    #[serde(default)]
    pub input_tokens: Option<i64>,
    /// Output tokens, reasoning included.
    #[serde(default)]
    pub output_tokens: Option<i64>,
    /// Input tokens that came from a cache.
    #[serde(default)]
    pub cached_input_tokens: Option<i64>,
    /// Output tokens spent on reasoning.
    #[serde(default)]
    pub reasoning_tokens: Option<i64>,
    /// US dollars; absent where unknown.
    #[serde(default)]
    pub cost_usd: Option<f64>,
    /// Whether `cost_usd` was priced from the model and the tokens.
    #[serde(default)]
    pub cost_estimated: bool,
}

impl AgentEvent {
    /// An event with the required fields and nothing else.
    pub fn new(agent_id: impl Into<String>, timestamp: i64, event_id: impl Into<String>, message_type: MessageType) -> Self {
        Self {
            agent_id: agent_id.into(),
            event_id: event_id.into(),
            timestamp,
            message_type,
            content_hash: [0; 16],
            content: None,
            metadata: None,
            error_details: None,
            response_time_ms: None,
            token_count: None,
            model_used: None,
            user_feedback: None,
            user_id: None,
            session_id: None,
            conversation_id: None,
            trace_id: None,
            span_id: None,
            parent_span_id: None,
            tool_name: None,
            error_type: None,
            input_tokens: None,
            output_tokens: None,
            cached_input_tokens: None,
            reasoning_tokens: None,
            cost_usd: None,
            cost_estimated: false,
        }
    }
}

/// Avro `fixed` through serde: bytes, not a sequence of numbers.
mod fixed_bytes {
    use serde::{Deserializer, Serializer, de};
    use std::fmt;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8; 16], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 16], D::Error> {
        struct Fixed;
        impl de::Visitor<'_> for Fixed {
            type Value = [u8; 16];
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("16 bytes")
            }
            fn visit_bytes<E: de::Error>(self, v: &[u8]) -> Result<Self::Value, E> {
                v.try_into().map_err(|_| E::invalid_length(v.len(), &self))
            }
            // As the golden examples write it.
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
                let mut bytes = [0; 16];
                hex::decode_to_slice(v, &mut bytes).map_err(|_| E::invalid_value(de::Unexpected::Str(v), &self))?;
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Fixed)
    }
}
