//! The command `delete`, as the aggregator and the standalone binary offer it.

use super::{DeleteOptions, DeletionReport, Outcome};
use crate::verdict;
use clap::Args;
use schemas::agent_id;
use service_kit::deletions::Whose;
use std::process::ExitCode;
use std::time::Duration;

/// Whose events.
#[derive(Args, Clone, Debug, Default)]
#[group(required = true, multiple = false)]
struct WhoseArgs {
    /// Delete everything that this agent has posted until now.
    #[arg(long, value_parser = agent)]
    agent: Option<String>,
    /// Delete every event with this `user_id`, of whatever agent, that was posted until now.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: Option<String>,
    /// Go on with a deletion that was interrupted.
    #[arg(long)]
    resume: bool,
}

/// What to delete, and how gently.
#[derive(Args, Clone, Debug, Default)]
pub struct DeleteArgs {
    #[command(flatten)]
    whose: WhoseArgs,
    /// Delete. Without it nothing is deleted, and it is told what would be.
    #[arg(long)]
    yes: bool,
    /// Days after which raw events expire, as the services have it.
    #[arg(long, env = "EVENT_RETENTION_DAYS", default_value_t = 0)]
    event_retention_days: u32,
    /// Read at most so many items per second from the store; as fast as it answers where absent.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    items_per_second: Option<u32>,
    /// The whole report as JSON.
    #[arg(long)]
    json: bool,
}

/// There was nothing to delete.
const NOTHING: u8 = 1;

impl DeleteArgs {
    /// As options, with the days whose totals the query APIs hold in memory.
    pub fn options(&self, live_days: u32) -> DeleteOptions {
        DeleteOptions {
            whose: self.whose.agent.clone().map(Whose::Agent).or_else(|| self.whose.user.as_deref().map(Whose::user)),
            is_confirmed: self.yes,
            retention: (self.event_retention_days > 0).then(|| Duration::from_secs(u64::from(self.event_retention_days) * 86_400)),
            items_per_second: self.items_per_second,
            live_days,
            stop_before: None,
        }
    }

    /// Tells what became of it: 0 where it is done or only a look was asked for, 1 where there was nothing to delete, 2 where it did
    /// not come to its end.
    pub fn conclude(&self, outcome: anyhow::Result<DeletionReport>) -> ExitCode {
        let code = |report: &DeletionReport| if report.outcome == Outcome::Nothing { NOTHING } else { 0 };
        verdict::tell("delete", self.json, outcome.map(|report| (code(&report), report)))
    }
}

fn agent(text: &str) -> Result<String, String> {
    if agent_id::is_valid(text) { Ok(text.to_owned()) } else { Err(format!("{text:?} can be no agent's id")) }
}
