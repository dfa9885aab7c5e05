//! The aggregator as a process of its own, on Kafka and DynamoDB.

use aggregator::decode::Decoder;
use aggregator::delete::{DeleteArgs, Deleter, DeletionReport};
use aggregator::rebuild::{RebuildArgs, RebuildReport, Rebuilder};
use aggregator::verify::{Report, Verifier, VerifyArgs, progress_to_stderr};
use aggregator::{AggregatorConfig, AggregatorParts, TableOptions};
use clap::{Args, Parser, Subcommand};
use schemas::codec::{AGENT_TOTALS_SCHEMA, WireForm};
use service_kit::log::{LogConfig, Topics};
use service_kit::registry::{self, RegistryConfig};
use service_kit::service::Process;
use service_kit::store::StoreConfig;
use std::net::SocketAddr;
use std::process::ExitCode;

/// Counts the events of the log into DynamoDB, each exactly once.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where health and metrics are served.
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:9012")]
    admin_listen: SocketAddr,
    /// Create the topics and tables that are missing.
    #[arg(long, env = "CREATE_TABLES")]
    create_tables: bool,
    /// With --create-tables: index events by conversation (one more write unit per event that has one).
    #[arg(long, env = "INDEX_CONVERSATIONS")]
    index_conversations: bool,
    #[command(flatten)]
    log: LogConfig,
    #[command(flatten)]
    store: StoreConfig,
    #[command(flatten)]
    aggregator: AggregatorConfig,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Count everything again, from the raw events and from the log, and compare every counter
    Verify(Box<BesideServices<VerifyArgs>>),
    /// Count the metrics table anew from the raw events into a version beside it, prove it, and change over, while events come
    Rebuild(Box<BesideServices<RebuildArgs>>),
    /// Delete an agent's or a user's events, and subtract them from every number, while events come
    Delete(Box<BesideServices<DeleteArgs>>),
}

/// A command's own arguments, and where the services have their log and store.
#[derive(Args, Debug)]
struct BesideServices<A: Args> {
    #[command(flatten)]
    args: A,
    #[command(flatten)]
    log: LogConfig,
    #[command(flatten)]
    store: StoreConfig,
    #[command(flatten)]
    registry: RegistryConfig,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut cli = Cli::parse();
    match cli.command.take() {
        Some(Command::Verify(command)) => {
            let outcome = verify(&command).await;
            Ok(command.args.conclude(outcome))
        }
        Some(Command::Rebuild(command)) => {
            let outcome = rebuild(&command).await;
            Ok(command.args.conclude(outcome))
        }
        Some(Command::Delete(command)) => {
            let outcome = delete(&command).await;
            Ok(command.args.conclude(outcome))
        }
        None => serve(cli).await.map(|()| ExitCode::SUCCESS),
    }
}

async fn verify(command: &BesideServices<VerifyArgs>) -> anyhow::Result<Report> {
    command.args.check()?;
    let verifier = Verifier {
        store: command.store.client().await,
        tables: command.store.tables(),
        log: command.log.connect()?,
        topics: command.log.topics(),
        decoder: Decoder::new(&command.registry)?,
        options: command.args.options(),
    };
    Ok(Box::pin(verifier.run(&progress_to_stderr())).await?)
}

async fn rebuild(command: &BesideServices<RebuildArgs>) -> anyhow::Result<RebuildReport> {
    let topics = command.log.topics();
    let wire_form = totals_form(&command.registry, &topics).await?;
    let rebuilder = Rebuilder {
        store: command.store.client().await,
        tables: command.store.tables(),
        log: command.log.connect()?,
        topics,
        decoder: Decoder::new(&command.registry)?,
        wire_form,
        barrier: None,
        options: command.args.options(live_days(&command.log))?,
    };
    Ok(Box::pin(rebuilder.run(&progress_to_stderr())).await?)
}

async fn delete(command: &BesideServices<DeleteArgs>) -> anyhow::Result<DeletionReport> {
    let topics = command.log.topics();
    let deleter = Deleter {
        store: command.store.client().await,
        tables: command.store.tables(),
        log: command.log.connect()?,
        wire_form: totals_form(&command.registry, &topics).await?,
        topics,
        barrier: None,
        options: command.args.options(live_days(&command.log)),
    };
    Ok(Box::pin(deleter.run(&progress_to_stderr())).await?)
}

/// How records of the live topic are framed.
async fn totals_form(registry: &RegistryConfig, topics: &Topics) -> anyhow::Result<WireForm> {
    Ok(registry::register(registry, &topics.metrics, "agent_tally.AgentTotals", AGENT_TOTALS_SCHEMA).await?)
}

fn live_days(log: &LogConfig) -> u32 {
    u32::try_from(log.live_days).unwrap_or(u32::MAX)
}

async fn serve(cli: Cli) -> anyhow::Result<()> {
    let topics = cli.log.topics();
    let config = AggregatorConfig {
        topic_events: topics.events,
        topic_metrics: topics.metrics,
        topic_dead: topics.dead,
        epoch: cli.log.log_epoch,
        ..cli.aggregator
    };
    config.validate()?;
    let process = Process::start("aggregator", "aggregator", cli.admin_listen).await?;
    let (store, tables, log) = (cli.store.client().await, cli.store.tables(), cli.log.connect()?);
    if cli.create_tables {
        let options = TableOptions { index_conversations: cli.index_conversations, expire_events: config.event_retention_days > 0 };
        aggregator::create_tables(&store, &tables, options).await?;
        for spec in cli.log.topic_specs() {
            log.create_topic(&spec).await?;
        }
    }
    let parts = AggregatorParts { log, store, tables, readiness: process.readiness.clone(), barrier: None };
    let work = aggregator::run(config, parts, process.shutdown.clone());
    process.run(Box::pin(work)).await
}
