//! Every contract that crosses a process boundary: the Avro records and their codec, the DynamoDB
//! keys and items, the form of a dead letter, the identity of an event, the units of the counters, the problem+json body.
//!
//! Nothing here does I/O, so that every service, test and tool reads and writes the same bytes.

pub mod agent_id;
pub mod canonical;
pub mod codec;
pub mod dead_letter;
pub mod event;
pub mod examples;
pub mod export;
pub mod identity;
pub mod item;
pub mod price;
pub mod problem;
pub mod rollup;
pub mod size;
pub mod sketch;
pub mod time;
pub mod totals;
pub mod users;

pub use agent_id::AgentId;
pub use event::{AgentEvent, MessageType};
pub use problem::Problem;
pub use totals::AgentTotals;
