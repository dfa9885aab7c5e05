//! The command `rebuild`, as the aggregator and the standalone binary offer it.

use super::{RebuildOptions, RebuildReport};
use crate::verdict;
use anyhow::Context as _;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What to do, and how gently.
#[derive(Args, Clone, Debug, Default)]
pub struct RebuildArgs {
    /// Days after which raw events expire, as the services have it: what may be gone is taken over from the old table.
    #[arg(long, env = "EVENT_RETENTION_DAYS", default_value_t = 0)]
    event_retention_days: u32,
    /// Read at most so many items per second from the store; as fast as it answers where absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    items_per_second: Option<u32>,
    /// Fill the new table and compare, and leave the old one in use; run it again to change over.
    #[arg(long)]
    no_switch: bool,
    /// Change over although the new table does not agree with the raw events, or counts fewer of them.
    #[arg(long, conflicts_with = "no_switch")]
    accept_findings: bool,
    /// Delete the old table at the end.
    #[arg(long, conflicts_with = "no_switch")]
    drop_old: bool,
    /// End a rebuild that was begun, and delete the table that it filled.
    #[arg(long, conflicts_with_all = ["no_switch", "accept_findings", "drop_old"])]
    give_up: bool,
    /// Price events anew whose cost was estimated or is not known: by the built-in table, with the prices of a JSON file before
    /// it where one is named.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "", conflicts_with = "give_up")]
    reprice: Option<PathBuf>,
    /// The whole report as JSON.
    #[arg(long)]
    json: bool,
}

impl RebuildArgs {
    /// As options, with the days whose totals the query APIs hold in memory.
    ///
    /// # Errors
    /// Where the price table cannot be read.
    pub fn options(&self, live_days: u32) -> anyhow::Result<RebuildOptions> {
        let prices = match self.reprice.as_deref() {
            None => None,
            Some(builtin) if builtin.as_os_str().is_empty() => Some(String::new()),
            Some(file) => Some(std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?),
        };
        Ok(RebuildOptions {
            retention: (self.event_retention_days > 0).then(|| Duration::from_secs(u64::from(self.event_retention_days) * 86_400)),
            items_per_second: self.items_per_second,
            live_days,
            no_switch: self.no_switch,
            accept_findings: self.accept_findings,
            drop_old: self.drop_old,
            give_up: self.give_up,
            prices,
            followed_within: None,
        })
    }

    /// Tells what became of it: 0 where it was done, 1 where the new table was not proved, 2 where it did not come to its end.
    pub fn conclude(&self, outcome: anyhow::Result<RebuildReport>) -> ExitCode {
        verdict::tell("rebuild", self.json, outcome.map(|report| (u8::from(!report.is_good()), report)))
    }
}
