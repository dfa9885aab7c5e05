//! `agent-tally delete`: deletes an agent's or a user's events, beside the server that runs on the data directory.

use crate::control::ControlClient;
use crate::data_dir::{DataDir, DataDirError};
use crate::engine::Engine;
use aggregator::delete::{DeleteArgs, DeleteOptions, Deleter, DeletionReport};
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

/// What to delete.
#[derive(Args, Clone, Debug)]
pub struct DeleteCommand {
    /// The data directory of a running `agent-tally serve`.
    #[arg(long, env = "AGENT_TALLY_DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
    #[command(flatten)]
    args: DeleteArgs,
}

/// Deletes and tells what became of it.
pub async fn run(command: DeleteCommand) -> ExitCode {
    let outcome = delete(&command).await;
    command.args.conclude(outcome)
}

async fn delete(command: &DeleteCommand) -> anyhow::Result<DeletionReport> {
    let dir = &command.data_dir;
    ensure!(dir.is_dir(), "there is no data directory {}", dir.display());
    match DataDir::open(dir) {
        Ok(_) => bail!("a deletion goes on beside the server: start `agent-tally serve --data-dir {}` first", dir.display()),
        Err(DataDirError::InUse { .. }) => {
            // The server itself knows how many days are live.
            ControlClient::new(dir)?.delete(&command.args.options(0), &progress_to_stderr()).await
        }
        Err(e) => Err(e.into()),
    }
}

/// What deletes from the store of this process.
pub(crate) fn deleter(engine: &Engine, log: Arc<dyn Log>, options: DeleteOptions) -> Deleter {
    Deleter {
        store: engine.client(),
        tables: TableNames::default(),
        log,
        topics: Topics::default(),
        wire_form: WireForm::default(),
        barrier: Some(engine.barrier(None)),
        options,
    }
}
