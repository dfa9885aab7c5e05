//! `agent-tally demo`: a believable fleet of agents over real HTTP. First its history, then live traffic.
//!
//! A day of an agent depends only on the seed, the agent's name and the date, ids included: whoever runs the
//! same history again sends the same events, and they are counted once.

mod conversation;
mod delivery;
mod fleet;
mod history;
mod ledger;
mod live;
mod progress;
mod random;

use crate::duration::parse_duration;
use anyhow::{Context, ensure};
use clap::Args;
use delivery::Delivery;
use fleet::Fleet;
use history::Past;
use indicatif::{HumanCount, HumanDuration};
use ledger::Ledger;
use live::Pace;
use schemas::time::now_micros;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What the demo is told.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Where the events go.
    #[arg(long, env = "AGENT_TALLY_URL", default_value = "http://127.0.0.1:8001")]
    url: String,
    /// API key with the scope `ingest` (and `read`, to wait until everything is counted), where keys are required.
    #[arg(long, env = "AGENT_TALLY_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Number of agents.
    #[arg(long, default_value_t = 12)]
    agents: usize,
    /// Days of history, today included; 0 for none.
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Events that an average agent has on an average day of the history.
    #[arg(long, default_value_t = 300)]
    events_per_day: u32,
    /// Live events per second after the history.
    #[arg(long, default_value_t = 20.0)]
    rate: f64,
    /// How long live traffic goes on, like 30s, 5m or 2h; 0s for none.
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    duration: Duration,
    /// Another seed is another fleet's life.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write what was acknowledged, by agent and day, to this JSON file: what the numbers must show.
    #[arg(long)]
    ledger: Option<PathBuf>,
}

impl DemoArgs {
    fn validate(&self) -> anyhow::Result<()> {
        ensure!((1..=10_000).contains(&self.agents), "--agents must be 1 to 10000");
        ensure!(self.days <= 400, "--days must be 0 to 400");
        ensure!((1..=1_000_000).contains(&self.events_per_day), "--events-per-day must be 1 to 1000000");
        ensure!(self.rate > 0.0 && self.rate <= 100_000.0, "--rate must be above 0 and at most 100000");
        Ok(())
    }
}

/// Posts the history, then live traffic until the time is up or `shutdown`.
pub async fn run(args: DemoArgs, shutdown: CancellationToken) -> anyhow::Result<()> {
    args.validate()?;
    let url = reqwest::Url::parse(&args.url).with_context(|| format!("{:?} is no URL", args.url))?;
    anyhow::ensure!(matches!(url.scheme(), "http" | "https"), "{:?} is neither http nor https", args.url);
    let fleet = Fleet::new(args.agents, args.seed, args.events_per_day);
    let delivery = Delivery::new(&url, args.key.as_deref(), shutdown).await?;
    let mut ledger = Ledger::new(args.seed);
    if args.days > 0 {
        post_history(&args, &fleet, &delivery, &mut ledger).await?;
    }
    if !args.duration.is_zero() && !delivery.is_stopped() {
        post_live(&args, &fleet, &delivery, &mut ledger).await?;
    }
    if let Some(path) = &args.ledger {
        std::fs::write(path, serde_json::to_vec_pretty(&ledger)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn post_history(args: &DemoArgs, fleet: &Fleet, delivery: &Delivery, ledger: &mut Ledger) -> anyhow::Result<()> {
    delivery.progress().begin_history(fleet.expected_events(args.days));
    let begun = Instant::now();
    let posted = history::post(Past { days: args.days, until: now_micros() }, fleet, delivery, ledger).await;
    delivery.progress().end();
    let events = posted?;
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    say(&format!(
        "{} events of {} agents over {} days in {seconds:.1} s ({} events/s)",
        HumanCount(events),
        fleet.agents().len(),
        args.days,
        HumanCount((events as f64 / seconds) as u64),
    ))?;
    delivery.progress().begin_counting();
    let outcome = delivery.await_counted(Duration::from_secs(300)).await;
    delivery.progress().end();
    say(&outcome)
}

async fn post_live(args: &DemoArgs, fleet: &Fleet, delivery: &Delivery, ledger: &mut Ledger) -> anyhow::Result<()> {
    delivery.progress().begin_live(format!("{} events/s for {}; Ctrl-C stops", args.rate, HumanDuration(args.duration)));
    let pace = Pace { rate: args.rate, duration: args.duration, seed: args.seed };
    let posted = live::post(pace, fleet, delivery, ledger).await;
    delivery.progress().end();
    say(&format!("{} live events", HumanCount(posted?)))
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}").context("cannot write to stdout")
}

#[cfg(test)]
mod tests;
