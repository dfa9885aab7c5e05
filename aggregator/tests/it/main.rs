//! The aggregator's integration tests.
#![allow(clippy::unwrap_used, missing_docs)]

mod dead_letter;
mod engine;
mod model;
mod partition;
mod running;
mod start;
