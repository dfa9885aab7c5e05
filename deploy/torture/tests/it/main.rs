//! The failure suite's short form: real processes killed, frozen and starved, then audited.
#![allow(clippy::unwrap_used, missing_docs)]

mod dead_letters;
mod delete;
mod deployment;
mod import;
mod kafka;
mod moving;
mod pipeline;
mod power_cut;
mod rebuild;
mod replaced_log;
mod standalone;
mod storms;
