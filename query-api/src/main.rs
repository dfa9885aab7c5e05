//! The query API as a process of its own, on Kafka and DynamoDB.

use clap::Parser;
use query_api::{ServeConfig, serve};
use service_kit::service::{Process, listen};

/// Answers everything that is read.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    config: ServeConfig,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { config } = Cli::parse();
    config.validate()?;
    let process = Process::start("query-api", "store", config.service.admin_listen).await?;
    let listener = listen(config.service.listen).await?;
    let log = config.service.log.connect()?;
    let work = serve(config, log, process.readiness.clone(), listener, process.shutdown.clone());
    process.run(Box::pin(work)).await
}
