//! The aggregator's integration tests.
#![allow(clippy::unwrap_used, missing_docs)]

mod dead_letter;
mod delete;
mod engine;
mod model;
mod partition;
mod pipeline;
mod rebuild;
mod running;
mod start;
mod verify;
