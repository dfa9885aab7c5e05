//! The `agent-tally` command.

use agent_tally::{dead_letters, delete, demo, export, import, import_tables, keys, rebuild, serve, verify};
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
    /// Write everything that a data directory holds to a folder: a backup, or the first half of a move
    Export(export::ExportArgs),
    /// Bring an export into an empty data directory, or into Kafka and DynamoDB
    Import(Box<import::ImportArgs>),
    /// Bring in the events of the older system's DynamoDB table
    ImportTables(import_tables::ImportTables),
    /// Count everything again, from the raw events and from the log, and compare every counter
    Verify(Box<verify::VerifyCommand>),
    /// Count the rollups anew from the raw events beside the running server, prove them, and change over
    Rebuild(Box<rebuild::RebuildCommand>),
    /// Delete an agent's or a user's events, and subtract them from every number, beside the running server
    Delete(Box<delete::DeleteCommand>),
    /// Create, list and revoke API keys
    Keys(keys::KeysArgs),
    /// List, show and redrive events that were accepted and could not be counted
    DeadLetters(dead_letters::DeadLettersArgs),
}

/// Threads of the runtime; the store has its own.
const WORKERS: std::ops::RangeInclusive<usize> = 2..=4;

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            // A sentence for a person, whatever RUST_BACKTRACE says.
            eprintln!("agent-tally: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<ExitCode> {
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

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    let stop = shutdown::on_signal()?;
    match command {
        Command::Serve(args) => {
            let telemetry = telemetry::init_with("agent-tally", "auto", tracing::Level::WARN)?;
            Box::pin(serve::run(*args, &telemetry, stop)).await?;
        }
        Command::Demo(args) => Box::pin(demo::run(args, stop)).await?,
        Command::Export(args) => Box::pin(export::run(args, stop)).await?,
        Command::Import(args) => Box::pin(import::run(*args, stop)).await?,
        Command::ImportTables(options) => Box::pin(import_tables::run(options)).await?,
        Command::Verify(command) => return Ok(verify::run(*command).await),
        Command::Rebuild(command) => return Ok(rebuild::run(*command).await),
        Command::Delete(command) => return Ok(delete::run(*command).await),
        Command::Keys(args) => keys::run(args).await?,
        Command::DeadLetters(args) => dead_letters::run(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}
