//! What every run has in common: its options, its load, and how it is judged in the end.

pub mod disk_full;
pub mod services;
pub mod standalone;

use crate::audit::{audit, audit_log, shortfall};
use crate::client::{Load, Progress};
use crate::ledger::Ledger;
use crate::process::binary_path;
use crate::report::Run;
use anyhow::Context as _;
use aws_sdk_dynamodb::Client;
use event_log::Log;
use schemas::item::TableNames;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

/// What a run is told.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The scenario, as the program calls it.
    pub scenario: String,
    /// Of the schedule and the load.
    pub seed: u64,
    /// How long the schedule is: kills on standalone, rounds elsewhere.
    pub rounds: u64,
    /// Waves of faults in each storm.
    pub waves: usize,
    /// Events per second of the load, repeats not included.
    pub rate: u64,
    /// Binaries of an earlier version to begin with.
    pub old_binaries: Option<PathBuf>,
}

impl RunOptions {
    /// The program's arguments for the same run.
    fn arguments(&self) -> String {
        let Self { scenario, seed, rounds, waves, rate, old_binaries } = self;
        let waves = if scenario == "services" { format!(" --waves {waves}") } else { String::new() };
        let old = if old_binaries.is_some() { " --old-binaries DIR" } else { "" };
        format!("--scenario {scenario} --seed {seed} --rounds {rounds}{waves} --rate {rate}{old}")
    }
}

/// A load that goes on until it is ended.
#[derive(Debug)]
pub struct Sending {
    /// How far it is.
    pub progress: Arc<Progress>,
    task: JoinHandle<anyhow::Result<Ledger>>,
}

impl Sending {
    /// Begins to send to these gateways.
    pub fn begin(gateways: Vec<String>, options: &RunOptions) -> Self {
        let load = Load {
            gateways,
            seed: options.seed,
            run: format!("s{}", options.seed),
            agents: 12,
            events: options.rate,
            batch: 20,
            concurrency: 6,
            twice_per_cent: 20,
            timeout: Duration::from_secs(5),
            patience: Duration::from_secs(300),
        };
        let progress = Arc::new(Progress::default());
        let watched = Arc::clone(&progress);
        Self { progress, task: tokio::spawn(async move { load.send_until_over(Duration::from_secs(1), watched).await }) }
    }

    /// Events acknowledged so far, repeats included.
    pub fn acknowledged(&self) -> u64 {
        self.progress.accepted.load(Ordering::Relaxed)
    }

    /// Fails where the load has failed.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.task.is_finished(), "the load ended early");
        Ok(())
    }

    /// Lets it finish what it began; returns all that was accepted.
    pub async fn end(self) -> anyhow::Result<Ledger> {
        self.progress.is_over.store(true, Ordering::Release);
        self.task.await?
    }
}

/// A run that has begun.
pub fn new_run(options: &RunOptions) -> Run {
    Run {
        scenario: options.scenario.clone(),
        seed: options.seed,
        arguments: options.arguments(),
        commit: commit(),
        build: build(),
        started: schemas::time::format_micros(schemas::time::now_micros()),
        ..Run::default()
    }
}

/// Compares the store and the log with what was accepted.
pub async fn judge(run: &mut Run, store: &Client, log: &dyn Log, ledger: &Ledger) -> anyhow::Result<()> {
    let tables = TableNames::default();
    let found = shortfall(store, &tables, ledger).await?;
    (run.lost, run.double_counted) = (found.lost, found.doubled);
    run.events = ledger.events().len() as u64;
    run.difference = match audit(store, &tables, ledger).await {
        Ok(found) => audit_log(log, "agent-events", found, 0).await.err(),
        Err(difference) => Some(difference),
    }
    .map(|difference| format!("{difference:#}").chars().take(2_000).collect());
    Ok(())
}

/// What `verify` of a binary says.
pub fn verify(binary: &str, arguments: &[&str], environment: &[(String, String)]) -> anyhow::Result<String> {
    let output = Command::new(binary_path(binary)?)
        .arg("verify")
        .args(arguments)
        .env_remove("RUST_LOG")
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{binary} verify"))?;
    Ok(match output.status.code() {
        Some(0) => "agrees".into(),
        code => format!("{code:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
    })
}

/// Waits for a moment while whatever ended by itself is looked after.
pub(crate) async fn moment() {
    // Not synchronisation: the step of a schedule that goes by the clock.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Says something on standard output.
pub fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// What the machine was asked for in the last minute: threads that ran or wanted to.
pub(crate) fn load_average() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    text.split(' ').next().and_then(|minute| minute.parse().ok()).context("a load average")
}

/// `release` or `debug`, by the folder that the binaries are in.
fn build() -> String {
    let path = binary_path("agent-tally").unwrap_or_default();
    path.parent().and_then(Path::file_name).map_or_else(String::new, |folder| folder.to_string_lossy().into_owned())
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(Path::new(env!("CARGO_MANIFEST_DIR"))).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=10", "HEAD"]) else { return "unknown".into() };
    // The page and the runs themselves change while runs are made.
    let is_changed =
        git(&["status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/docs"]).is_none_or(|changes| !changes.is_empty());
    if is_changed { commit + "+" } else { commit }
}
