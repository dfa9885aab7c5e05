//! The `agent-tally` command.

use agent_tally::{demo, import_tables, keys, serve};
use anyhow::Context;
use clap::{Parser, Subcommand};
use service_kit::{shutdown, telemetry};
use std::process::ExitCode;

/// Counts what AI agents do, exactly once
#[derive(Parser, Debug)]
#[command(name = "agent-tally", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve everything on one port
    Serve(Box<serve::ServeArgs>),
    /// Post a believable fleet's history and live traffic to a server
    Demo(demo::DemoArgs),
    /// Bring in the events of the older system's DynamoDB table
    ImportTables(import_tables::ImportTables),
    /// Create, list and revoke API keys
    Keys(keys::KeysArgs),
}

/// Threads of the runtime; the store has its own.
const WORKERS: std::ops::RangeInclusive<usize> = 2..=4;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A sentence for a person, whatever RUST_BACKTRACE says.
            eprintln!("agent-tally: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    let command = Cli::parse().command;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.clamp(*WORKERS.start(), *WORKERS.end()))
        .max_blocking_threads(32)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run(command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    let stop = shutdown::on_signal()?;
    match command {
        Command::Serve(args) => {
            let telemetry = telemetry::init_with("agent-tally", "auto", tracing::Level::WARN)?;
            Box::pin(serve::run(*args, &telemetry, stop)).await
        }
        Command::Demo(args) => Box::pin(demo::run(args, stop)).await,
        Command::ImportTables(options) => Box::pin(import_tables::run(options)).await,
        Command::Keys(args) => keys::run(args).await,
    }
}
