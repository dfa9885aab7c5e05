//! `torture`: breaks whatever can break, on a schedule drawn from a seed, and compares every number with what was accepted.

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;
use tokio::signal::unix::{self, SignalKind};
use torture::report::{self, Run};
use torture::run::{RunOptions, disk_full, say, services, standalone};

/// Breaks Agent Tally and counts what was lost
#[derive(Parser, Debug)]
#[command(name = "torture", version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand, Debug)]
enum Task {
    /// Run a scenario
    Run(RunArgs),
    /// Print the tables of runs, or put them in their place on a page
    Report {
        /// Files that runs were added to.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The page.
        #[arg(long)]
        write: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
struct RunArgs {
    /// What to break.
    #[arg(long, value_enum, default_value_t = Scenario::Standalone)]
    scenario: Scenario,
    /// Of the schedule and the load; the clock's where absent. The same seed has the same schedule.
    #[arg(long)]
    seed: Option<u64>,
    /// Length of the schedule: kills on standalone, rounds elsewhere.
    #[arg(long, default_value_t = 20)]
    rounds: u64,
    /// Waves of 13 s in each storm on the services.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=20))]
    waves: u8,
    /// Events per second of the load, repeats not included (default: what a busy laptop counts).
    #[arg(long, value_parser = clap::value_parser!(u64).range(20..=20_000))]
    rate: Option<u64>,
    /// Folder of an earlier version's binaries: the services begin as those and are upgraded one by one.
    #[arg(long)]
    old_binaries: Option<PathBuf>,
    /// The run is added to this file as a line of JSON.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Where its data goes (default: the temporary directory). Kept where a number was wrong.
    #[arg(long)]
    data: Option<PathBuf>,
    /// This process has a mount namespace of its own.
    #[arg(long, hide = true)]
    may_mount: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// agent-tally serve, killed again and again.
    Standalone,
    /// agent-tally serve on a disk that fills up.
    StandaloneDiskFull,
    /// The services on three brokers and DynamoDB Local, in storms of faults.
    Services,
    /// The same, one fault at a time: how long until counting goes on.
    ServicesSingle,
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> ExitCode {
    // On a signal the run is dropped, and with it every process that it started.
    let outcome = tokio::select! {
        outcome = start(Cli::parse().command) => outcome,
        error = signal() => Err(error),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // A sentence for a person, whatever RUST_BACKTRACE says.
            eprintln!("torture: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Resolves when the program is told to end.
async fn signal() -> anyhow::Error {
    let told = async {
        let mut terminate = unix::signal(SignalKind::terminate())?;
        let mut interrupt = unix::signal(SignalKind::interrupt())?;
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        std::io::Result::Ok(())
    };
    told.await.err().map_or_else(|| anyhow::anyhow!("ended by a signal"), Into::into)
}

async fn start(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Run(args) if args.scenario == Scenario::StandaloneDiskFull && !args.may_mount => in_own_mounts(),
        Task::Run(args) => run(args).await,
        Task::Report { files, write } => {
            let tables = report::tables(&report::read(&files)?);
            match write {
                Some(page) => std::fs::write(&page, report::on_page(&std::fs::read_to_string(&page)?, &tables)?)?,
                None => say(&tables)?,
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| schemas::time::now_micros().unsigned_abs());
    // The services share their machine with four Java processes, and a backlog would only measure how fast those are.
    let rate = args.rate.unwrap_or(match args.scenario {
        Scenario::Standalone | Scenario::StandaloneDiskFull => 200,
        Scenario::Services => 100,
        Scenario::ServicesSingle => 50,
    });
    let scenario = args.scenario.to_possible_value().context("every scenario has a name")?.get_name().to_owned();
    let options = RunOptions { scenario, seed, rounds: args.rounds, waves: usize::from(args.waves), rate, old_binaries: args.old_binaries };
    say(&format!("{}, seed {seed}, {} rounds, {} events/s", options.scenario, options.rounds, options.rate))?;
    if torture::clock::library().is_none() {
        say("libfaketime is not installed: no clock steps")?;
    }
    let parent = args.data.unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::Builder::new().prefix("torture-").tempdir_in(parent)?;
    let began = Instant::now();
    let outcome = match args.scenario {
        Scenario::Standalone => standalone::kills(directory.path(), &options).await,
        Scenario::StandaloneDiskFull => {
            if let Err(error) = disk_full::mount(directory.path()) {
                return skipped(&error);
            }
            disk_full::fills(directory.path(), &options).await
        }
        Scenario::Services => services::storms(directory.path(), &options).await,
        Scenario::ServicesSingle => services::single_faults(directory.path(), &options).await,
    };
    let ended = match outcome {
        Ok(mut run) => {
            run.seconds = began.elapsed().as_secs();
            if let Some(file) = &args.report {
                run.append_to(file)?;
            }
            tell(&run)?;
            if run.is_clean() { Ok(()) } else { Err(anyhow::anyhow!("a number is wrong")) }
        }
        Err(error) => Err(error),
    };
    let Err(error) = ended else { return Ok(ExitCode::SUCCESS) };
    let error = error.context(format!("seed {seed}"));
    if args.scenario == Scenario::StandaloneDiskFull {
        // The small disk goes with the mount namespace.
        return Err(error);
    }
    let kept = directory.keep();
    Err(error.context(format!("the run's files are in {}", kept.display())))
}

fn tell(run: &Run) -> anyhow::Result<()> {
    if let Some(difference) = &run.difference {
        say(&format!("DIFFERS: {difference}"))?;
    }
    say(&format!("verify: {}\n\n{}", run.verify, report::tables(std::slice::from_ref(run))))
}

/// Starts this program once more in a mount namespace of its own.
fn in_own_mounts() -> anyhow::Result<ExitCode> {
    let mut unshare = Command::new("unshare");
    unshare.arg("--mount");
    let id = Command::new("id").arg("-u").output().context("running id")?;
    if id.stdout.trim_ascii() != b"0" {
        unshare.arg("--map-root-user");
    }
    let possible = Command::new("unshare").args(unshare.get_args()).arg("true").output();
    match possible {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skipped(&anyhow::anyhow!("no mount namespace: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => return skipped(&anyhow::anyhow!(error).context("running unshare")),
    }
    let status = unshare.arg(std::env::current_exe()?).args(std::env::args_os().skip(1)).arg("--may-mount").status()?;
    ensure!(status.success(), "the run ended with {status}");
    Ok(ExitCode::SUCCESS)
}

fn skipped(why: &anyhow::Error) -> anyhow::Result<ExitCode> {
    say(&format!("SKIPPED: {why:#}; a full disk needs a small file system of its own, which root or user namespaces can mount"))?;
    Ok(ExitCode::SUCCESS)
}
