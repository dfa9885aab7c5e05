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

use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};

/// Until something is taken for stuck: a slow machine is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// The turn of a test on a real broker and store; `None` where those are left out. One at a time: each of them fills a small
/// machine, and two would only wait for each other.
pub(crate) async fn real_engines() -> Option<MutexGuard<'static, ()>> {
    static TURN: Mutex<()> = Mutex::const_new(());
    if engines::java_or_skip() { Some(TURN.lock().await) } else { None }
}
