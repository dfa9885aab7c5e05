//! `agent-tally verify`: counts a data directory's events again, whether a server runs on it or not, or any server's from
//! outside.

mod outside;
mod tally;

use crate::control::ControlClient;
use crate::data_dir::{DataDir, DataDirError};
use crate::engine::Engine;
use aggregator::decode::Decoder;
use aggregator::verify::{Report, Verifier, VerifyArgs, VerifyOptions, progress_to_stderr};
use anyhow::{Context, ensure};
use clap::Args;
use event_log::Log;
use event_log::local::{LocalLog, LocalOptions};
use outside::{Outside, OutsideReport};
use schemas::item::TableNames;
use service_kit::log::Topics;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// What to verify.
#[derive(Args, Clone, Debug)]
pub struct VerifyCommand {
    /// The data directory of `agent-tally serve`.
    #[arg(long, env = "AGENT_TALLY_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    /// Recount from outside instead: page through the events that this server's API shows and compare with the numbers that
    /// it shows, over the last seven days where none are named.
    #[arg(long, conflicts_with_all = ["items_per_second", "skip_log", "scan_events", "resume"])]
    url: Option<String>,
    /// With --url: an API key with the scope `read`, where keys are required.
    #[arg(long, env = "AGENT_TALLY_KEY", hide_env_values = true)]
    key: Option<String>,
    #[command(flatten)]
    args: VerifyArgs,
}

/// Verifies and tells the verdict.
pub async fn run(command: VerifyCommand) -> ExitCode {
    if let Some(url) = &command.url {
        let outcome = verify_outside(url, &command).await.map(|report| (report.agrees, report));
        return command.args.tell(outcome);
    }
    let outcome = verify(&command).await;
    command.args.conclude(outcome)
}

async fn verify_outside(url: &str, command: &VerifyCommand) -> anyhow::Result<OutsideReport> {
    command.args.check()?;
    let options = command.args.options();
    Outside::new(url, command.key.as_deref()).await?.verify(options.days, options.retention, &progress_to_stderr()).await
}

async fn verify(command: &VerifyCommand) -> anyhow::Result<Report> {
    command.args.check()?;
    ensure!(command.data_dir.is_dir(), "there is no data directory {}", command.data_dir.display());
    // A table of one machine's own is read twice without a thought: no event shall hide behind an unlisted agent.
    let options = VerifyOptions { scan_events: true, ..command.args.options() };
    let progress = progress_to_stderr();
    let dir = match DataDir::open(&command.data_dir) {
        Ok(dir) => dir,
        Err(DataDirError::InUse { .. }) => return ControlClient::new(&command.data_dir)?.verify(&options, &progress).await,
        Err(e) => return Err(e.into()),
    };
    let engine = Engine::open(&dir.store())?;
    let log = LocalLog::open(dir.log(), LocalOptions::default()).context("cannot open the log")?;
    let report = Box::pin(verifier(&engine, Arc::new(log), options).run(&progress)).await;
    tokio::task::spawn_blocking(move || engine.close()).await.context("cannot close the store")?;
    drop(dir);
    Ok(report?)
}

/// What verifies a data directory that is open in this process.
pub(crate) fn verifier(engine: &Engine, log: Arc<dyn Log>, options: VerifyOptions) -> Verifier {
    Verifier { store: engine.client(), tables: TableNames::default(), log, topics: Topics::default(), decoder: Decoder::default(), options }
}
