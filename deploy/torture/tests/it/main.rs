//! The failure suite's short form: real processes killed, frozen and starved, then audited.
#![allow(clippy::unwrap_used, missing_docs)]

mod deployment;
mod import;
mod kafka;
mod pipeline;
mod power_cut;
mod replaced_log;
mod standalone;
