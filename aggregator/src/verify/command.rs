//! The command `verify`, as the aggregator and the standalone binary offer it: arguments, progress, verdict.

use super::{Progress, Report, VerifyOptions};
use crate::verdict;
use clap::Args;
use schemas::time::parse_day;
use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What to verify, and how gently.
#[derive(Args, Clone, Debug, Default)]
pub struct VerifyArgs {
    /// First day to recount, like 2026-11-01; from the first event on where absent.
    #[arg(long, value_parser = day)]
    from: Option<i32>,
    /// Last day to recount; to the newest event where absent.
    #[arg(long, value_parser = day)]
    to: Option<i32>,
    /// Days after which raw events expire, as the services have it: what may be gone is not compared.
    #[arg(long, env = "EVENT_RETENTION_DAYS", default_value_t = 0)]
    event_retention_days: u32,
    /// Read at most so many items per second from the store; as fast as it answers where absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    items_per_second: Option<u32>,
    /// Compare with the raw events only, not with the log.
    #[arg(long)]
    skip_log: bool,
    /// Look at the keys of all events too, for agents that the directory does not list; reads the table twice.
    #[arg(long)]
    scan_events: bool,
    /// Note in this file which days are done: started again with it, the command goes on from there.
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// The whole report as JSON.
    #[arg(long)]
    json: bool,
}

impl VerifyArgs {
    /// Refuses days that cannot be.
    pub fn check(&self) -> anyhow::Result<()> {
        let is_reversed = self.from.zip(self.to).is_some_and(|(from, to)| from > to);
        anyhow::ensure!(!is_reversed, "--from is after --to");
        Ok(())
    }

    /// As options.
    pub fn options(&self) -> VerifyOptions {
        VerifyOptions {
            days: (self.from, self.to),
            retention: (self.event_retention_days > 0).then(|| Duration::from_secs(u64::from(self.event_retention_days) * 86_400)),
            items_per_second: self.items_per_second,
            scan_events: self.scan_events,
            skip_log: self.skip_log,
            metrics_table: None,
            // Whoever runs it may run elsewhere.
            resume: self.resume.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())),
        }
    }

    /// Tells the verdict: 0 where everything agrees, 1 where something differs, 2 where there is no verdict.
    pub fn conclude(&self, outcome: anyhow::Result<Report>) -> ExitCode {
        self.tell(outcome.map(|report| (report.agrees, report)))
    }

    /// The same for a report of another kind, with whether it agrees.
    pub fn tell<R: Serialize + Display>(&self, outcome: anyhow::Result<(bool, R)>) -> ExitCode {
        verdict::tell("verify", self.json, outcome.map(|(agrees, report)| (u8::from(!agrees), report)))
    }
}

/// Progress to stderr: one line that is written over on a terminal, a line now and then elsewhere.
pub fn progress_to_stderr() -> Progress {
    let is_terminal = std::io::stderr().is_terminal();
    Progress::new(move |line| {
        let mut stderr = std::io::stderr().lock();
        drop(if is_terminal { write!(stderr, "\r\x1b[K{line}\r") } else { writeln!(stderr, "{line}") });
        drop(stderr.flush());
    })
}

fn day(text: &str) -> Result<i32, String> {
    parse_day(text).ok_or_else(|| format!("{text:?} is no day like 2026-11-01"))
}
