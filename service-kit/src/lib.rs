//! What every service has around its work: problem answers, guards and measures of HTTP, API keys and limits,
//! telemetry, the admin port, and the way to the store, the log and the schema registry. Knows nothing of events, rollups or queries.

pub mod admin;
mod allocator;
pub mod auth;
pub mod deletions;
pub mod http;
pub mod imported;
pub mod keys;
mod limit;
pub mod log;
pub mod metrics_tables;
pub mod problem;
pub mod registry;
pub mod service;
pub mod sessions;
pub mod shutdown;
pub mod store;
pub mod telemetry;
