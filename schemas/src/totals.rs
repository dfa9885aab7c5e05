//! The live totals of one agent and day, as they travel through the compacted topic.

use crate::event::MessageType;
use crate::rollup::Rollup;
use serde::{Deserialize, Serialize};

/// Rows of this name and their key's beginning are no agent's: what a gateway accepted. No agent's id begins so.
const GATEWAY: &str = "~gateway/";
/// Where a version's generation begins: 16 million flushes of an agent's day, 190 a second. A live table's row has 32 bits for both.
const GENERATION_BITS: u32 = 24;
/// Later generations are not told apart by it.
const NEWEST_GENERATION: u32 = 0xff;

/// The `agent_id` of a gateway's own totals: `calls` is what it accepted on a day since its start.
pub fn gateway_name(id: &str) -> String {
    format!("{GATEWAY}{id}")
}

/// One row of the live table: the fields of `avro/agent_totals.avsc`, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTotals {
    /// Whose totals.
    pub agent_id: String,
    /// Days since 1970-01-01, UTC.
    pub day: i32,
    /// Number of flushes of the day's item, and above its 24 bits the generation of the metrics table that the item is
    /// in; the highest wins.
    pub version: i64,
    /// Microseconds since the epoch of the flush.
    pub flushed_at: i64,
    /// Microseconds since the epoch of the newest event.
    pub last_at: i64,
    /// All events.
    pub calls: i64,
    /// `user_message` events.
    #[serde(default)]
    pub messages: i64,
    /// `agent_response` events.
    #[serde(default)]
    pub responses: i64,
    /// `error` events.
    #[serde(default)]
    pub errors: i64,
    /// `tool_call` events.
    #[serde(default)]
    pub tool_calls: i64,
    /// Sum of response times, µs.
    #[serde(default)]
    pub latency_us: i64,
    /// Events with a response time.
    #[serde(default)]
    pub latency_n: i64,
    /// Longest response time, µs.
    #[serde(default)]
    pub latency_max_us: i64,
    /// Sum of token counts.
    #[serde(default)]
    pub tokens: i64,
    /// Sum of input tokens.
    #[serde(default)]
    pub input_tokens: i64,
    /// Sum of output tokens.
    #[serde(default)]
    pub output_tokens: i64,
    /// Known cost, 10⁻⁹ US dollars.
    #[serde(default)]
    pub cost_nanousd: i64,
    /// Events with a known cost.
    #[serde(default)]
    pub cost_n: i64,
    /// Sum of feedback, millionths of a point.
    #[serde(default)]
    pub feedback_micro: i64,
    /// Events with feedback.
    #[serde(default)]
    pub feedback_n: i64,
    /// Duplicates skipped.
    #[serde(default)]
    pub duplicates: i64,
}

impl AgentTotals {
    /// The totals of a day item in the metrics table of that generation: a rebuilt table's follow on those of the table
    /// before it, however often either was flushed. `flushed_at` in microseconds since the epoch.
    pub fn of(agent_id: &str, day: i32, rollup: &Rollup, generation: u32, flushed_at: i64) -> Self {
        Self {
            agent_id: agent_id.to_owned(),
            day,
            version: (i64::from(generation.min(NEWEST_GENERATION)) << GENERATION_BITS) + rollup.version,
            flushed_at,
            last_at: rollup.last_at,
            calls: rollup.calls,
            messages: rollup.of_type(MessageType::UserMessage),
            responses: rollup.of_type(MessageType::AgentResponse),
            errors: rollup.of_type(MessageType::Error),
            tool_calls: rollup.of_type(MessageType::ToolCall),
            latency_us: rollup.latency_us,
            latency_n: rollup.latency_n,
            latency_max_us: rollup.latency_max_us,
            tokens: rollup.tokens,
            input_tokens: rollup.input_tokens,
            output_tokens: rollup.output_tokens,
            cost_nanousd: rollup.cost_nanousd,
            cost_n: rollup.cost_n,
            feedback_micro: rollup.feedback_micro,
            feedback_n: rollup.feedback_n,
            duplicates: rollup.duplicates,
        }
    }

    /// Whether this tells what a gateway accepted.
    pub fn is_gateway(&self) -> bool {
        self.agent_id.starts_with(GATEWAY)
    }

    /// The record's key in the compacted topic.
    pub fn key(&self) -> String {
        format!("{}#{}", self.agent_id, self.day)
    }
}
