//! `agent-tally rebuild`: counts a data directory's rollups anew, beside the server that runs on it.

use crate::control::ControlClient;
use crate::data_dir::{DataDir, DataDirError};
use crate::engine::Engine;
use aggregator::decode::Decoder;
use aggregator::rebuild::{RebuildArgs, RebuildOptions, RebuildReport, Rebuilder};
use aggregator::verify::progress_to_stderr;
use anyhow::{bail, ensure};
use clap::Args;
use event_log::Log;
use schemas::codec::WireForm;
use schemas::item::TableNames;
use service_kit::log::Topics;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// What to rebuild.
#[derive(Args, Clone, Debug)]
pub struct RebuildCommand {
    /// The data directory of a running `agent-tally serve`.
    #[arg(long, env = "AGENT_TALLY_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    #[command(flatten)]
    args: RebuildArgs,
}

/// Rebuilds and tells what became of it.
pub async fn run(command: RebuildCommand) -> ExitCode {
    let outcome = rebuild(&command).await;
    command.args.conclude(outcome)
}

async fn rebuild(command: &RebuildCommand) -> anyhow::Result<RebuildReport> {
    let dir = &command.data_dir;
    ensure!(dir.is_dir(), "there is no data directory {}", dir.display());
    match DataDir::open(dir) {
        Ok(_) => bail!("a rebuild goes on beside the server: start `agent-tally serve --data-dir {}` first", dir.display()),
        Err(DataDirError::InUse { .. }) => {
            // The server itself knows how many days are live.
            ControlClient::new(dir)?.rebuild(&command.args.options(0)?, &progress_to_stderr()).await
        }
        Err(e) => Err(e.into()),
    }
}

/// What rebuilds the store of this process.
pub(crate) fn rebuilder(engine: &Engine, log: Arc<dyn Log>, options: RebuildOptions) -> Rebuilder {
    Rebuilder {
        store: engine.client(),
        tables: TableNames::default(),
        log,
        topics: Topics::default(),
        decoder: Decoder::default(),
        wire_form: WireForm::default(),
        barrier: Some(engine.barrier(None)),
        options,
    }
}
