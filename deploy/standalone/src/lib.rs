//! Agent Tally on one machine: all services in one process, the local log and an embedded DynamoDB engine, and
//! the commands around them. It must not know how events are validated, counted or shown.

pub mod engine;
