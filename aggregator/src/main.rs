//! The aggregator as a process of its own, on Kafka and DynamoDB.

use aggregator::{AggregatorConfig, AggregatorParts, TableOptions};
use clap::Parser;
use service_kit::log::LogConfig;
use service_kit::service::Process;
use service_kit::store::StoreConfig;
use std::net::SocketAddr;

/// Counts the events of the log into DynamoDB, each exactly once.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
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
